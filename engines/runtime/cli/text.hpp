// Texts that may hold anything, made fit for a terminal or for JSON.
#pragma once

#include <string>

namespace levit_run {

// On one line and without terminal codes: what is not a printable character of UTF-8 is written as
// an escape.
std::string printable(const std::string& text);

// How many columns a printable text takes, counting each character as one.
std::size_t width_of(const std::string& text);

// A JSON string in ASCII. Bytes that are not UTF-8 become lone surrogates, as in Python's file
// names.
std::string json_string(const std::string& text);

// The shortest text that is read back as the same number, as Python writes it. `value` is finite.
std::string json_number(double value);

}  // namespace levit_run

// Texts that may hold anything, made fit for a terminal or for JSON.
#pragma once

#include <string>
#include <string_view>

#include "../src/utf8.hpp"

namespace levit_run {

using levit::printable;

// How many columns a printable text takes, counting each character as one.
std::size_t width_of(std::string_view text);

// A JSON string in ASCII. Bytes that are not UTF-8 become lone surrogates, as in Python's file
// names.
std::string json_string(std::string_view text);

// The shortest text that is read back as the same number, as Python writes it. `value` is finite.
std::string json_number(double value);

}  // namespace levit_run

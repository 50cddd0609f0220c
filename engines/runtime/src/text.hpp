// Text that came from a stranger: kept on one line in messages, and checked to be UTF-8.
#pragma once

#include <string>
#include <string_view>

#include "utf8.hpp"

namespace levit {

// `text` in quotes, cut to a sane length; whatever is not printable ASCII is written as \xNN, so
// that the name of a file can neither break the line nor drive the terminal.
std::string quoted(std::string_view text);

// Whether `text` is UTF-8.
bool is_utf8(std::string_view text);

// `text`, which is UTF-8, without the white space of Python's str.strip() at both ends.
std::string_view strip(std::string_view text);

}  // namespace levit

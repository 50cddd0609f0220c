// Text that came from a stranger: kept on one line in messages, and checked to be UTF-8.
#pragma once

#include <string>
#include <string_view>

namespace levit {

// `text` in quotes, cut to a sane length; whatever is not printable ASCII is written as \xNN, so
// that the name of a file can neither break the line nor drive the terminal.
std::string quoted(std::string_view text);

// The same without quotes, for paths: UTF-8 stays as it is, control characters do not.
std::string printable(std::string_view text);

// Whether `text` is UTF-8 as Unicode defines it: no overlong forms, no surrogates, nothing above
// U+10FFFF.
bool is_utf8(std::string_view text);

// `text`, which is UTF-8, without the white space of Python's str.strip() at both ends.
std::string_view strip(std::string_view text);

}  // namespace levit

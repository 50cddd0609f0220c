#include "text.hpp"

#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace levit_run {
namespace {

std::string formatted(const char* format, unsigned value) {
  char text[16];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

std::string json_character(std::uint32_t code) {
  switch (code) {
    case '"':
      return "\\\"";
    case '\\':
      return "\\\\";
    case '\b':
      return "\\b";
    case '\f':
      return "\\f";
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    default:
      break;
  }
  if (code >= 0x20 && code < 0x7F) return std::string(1, static_cast<char>(code));
  if (code < 0x10000) return formatted("\\u%04x", code);
  const std::uint32_t rest = code - 0x10000;
  return formatted("\\u%04x", 0xD800 + (rest >> 10)) +
         formatted("\\u%04x", 0xDC00 + (rest & 0x3FF));
}

}  // namespace

std::size_t width_of(std::string_view text) {
  std::size_t columns = 0;
  for (; !text.empty(); ++columns) text.remove_prefix(levit::first_character(text).length);
  return columns;
}

std::string json_string(std::string_view text) {
  std::string quoted = "\"";
  while (!text.empty()) {
    const levit::Character found = levit::first_character(text);
    quoted += found.valid ? json_character(found.code) : formatted("\\u%04x", 0xDC00 + found.code);
    text.remove_prefix(found.length);
  }
  return quoted + "\"";
}

std::string json_number(double value) {
  char shortest[64];
  const auto end =
      std::to_chars(shortest, shortest + sizeof shortest, value, std::chars_format::scientific).ptr;
  const std::string scientific(shortest, end);
  const std::size_t mark = scientific.find('e');
  const int exponent = std::atoi(scientific.c_str() + mark + 1);
  if (exponent < -4 || exponent >= 16) return scientific;  // where Python changes the form as well
  char plain[64];
  std::string text(plain,
                   std::to_chars(plain, plain + sizeof plain, value, std::chars_format::fixed).ptr);
  return text.find('.') == std::string::npos ? text + ".0" : text;
}

}  // namespace levit_run

#include "text.hpp"

#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace levit_run {
namespace {

struct Character {
  std::uint32_t code = 0;
  std::size_t length = 1;
  bool valid = false;
};

// The character of UTF-8 that starts at `place`; a byte that starts none is not valid.
Character character_at(const std::string& text, std::size_t place) {
  const auto byte = [&](std::size_t index) { return static_cast<unsigned char>(text[index]); };
  const unsigned char lead = byte(place);
  if (lead < 0x80) return {lead, 1, true};
  const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || place + length > text.size()) return {lead, 1, false};
  std::uint32_t code = lead & (0xFFU >> (length + 1));
  for (std::size_t index = 1; index < length; ++index) {
    if ((byte(place + index) & 0xC0U) != 0x80) return {lead, 1, false};
    code = (code << 6) | (byte(place + index) & 0x3FU);
  }
  constexpr std::uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
  if (code < smallest[length] || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
    return {lead, 1, false};
  return {code, length, true};
}

std::string formatted(const char* format, unsigned value) {
  char text[16];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

bool is_control(std::uint32_t code) {
  // Controls, line and paragraph separators, and what turns the direction of writing.
  return code < 0x20 || (code >= 0x7F && code < 0xA0) || code == 0x2028 || code == 0x2029 ||
         (code >= 0x202A && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
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

std::string printable(const std::string& text) {
  std::string shown;
  for (std::size_t place = 0; place < text.size();) {
    const Character found = character_at(text, place);
    if (!found.valid || (is_control(found.code) && found.code < 0x100)) {
      shown += formatted("\\x%02x", found.code);
    } else if (is_control(found.code)) {
      shown += formatted("\\u%04x", found.code);
    } else {
      shown += text.substr(place, found.length);
    }
    place += found.length;
  }
  return shown;
}

std::size_t width_of(const std::string& text) {
  std::size_t columns = 0;
  for (std::size_t place = 0; place < text.size(); ++columns)
    place += character_at(text, place).length;
  return columns;
}

std::string json_string(const std::string& text) {
  std::string quoted = "\"";
  for (std::size_t place = 0; place < text.size();) {
    const Character found = character_at(text, place);
    quoted += found.valid ? json_character(found.code) : formatted("\\u%04x", 0xDC00 + found.code);
    place += found.length;
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

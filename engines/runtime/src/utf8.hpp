// UTF-8 character by character, and what of it may reach a terminal. Header-only: levit-run, which
// sees nothing of the library but its C interface, has the same rules.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

namespace levit {

// One character: its code point and length in bytes; a byte that begins none is not valid, and
// stands for itself.
struct Character {
  std::uint32_t code = 0;
  std::size_t length = 1;
  bool valid = false;
};

// The character that `text`, which is not empty, begins with. UTF-8 as Unicode defines it: no
// overlong forms, no surrogates, nothing above U+10FFFF.
inline Character first_character(std::string_view text) noexcept {
  const auto byte = [&](std::size_t index) { return static_cast<unsigned char>(text[index]); };
  const std::uint32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1, true};
  const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < length) return {lead, 1, false};
  std::uint32_t code = lead & (0xFFU >> (length + 1));
  for (std::size_t index = 1; index < length; ++index) {
    if ((byte(index) & 0xC0U) != 0x80) return {lead, 1, false};
    code = (code << 6) | (byte(index) & 0x3FU);
  }
  constexpr std::uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool is_surrogate = code >= 0xD800 && code < 0xE000;
  if (code < smallest[length] || code > 0x10FFFF || is_surrogate) return {lead, 1, false};
  return {code, length, true};
}

// Controls, line and paragraph separators, and what turns the direction of writing.
inline bool is_control(std::uint32_t code) noexcept {
  return code < 0x20 || (code >= 0x7F && code < 0xA0) || code == 0x2028 || code == 0x2029 ||
         (code >= 0x202A && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
}

// `text` on one line and without terminal codes: what is not a printable character is written as
// \xNN or \uNNNN.
inline std::string printable(std::string_view text) {
  std::string shown;
  while (!text.empty()) {
    const Character found = first_character(text);
    if (found.valid && !is_control(found.code)) {
      shown += text.substr(0, found.length);
    } else {
      char escape[16];
      std::snprintf(escape, sizeof escape, found.code < 0x100 ? "\\x%02x" : "\\u%04x",
                    static_cast<unsigned>(found.code));
      shown += escape;
    }
    text.remove_prefix(found.length);
  }
  return shown;
}

}  // namespace levit

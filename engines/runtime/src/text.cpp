#include "text.hpp"

#include <cstddef>
#include <cstdint>

namespace levit {
namespace {

constexpr std::size_t longest_quote = 200;

void append_escaped(std::string& line, unsigned char byte) {
  static constexpr char digits[] = "0123456789abcdef";
  line += "\\x";
  line += digits[byte >> 4];
  line += digits[byte & 15];
}

// One character of UTF-8: its code point and length in bytes; length 0 when there is none.
struct Character {
  std::uint32_t code = 0;
  std::size_t length = 0;
};

Character first_character(std::string_view text) {
  const auto byte_at = [&](std::size_t index) { return static_cast<unsigned char>(text[index]); };
  if (text.empty()) return {};
  const std::uint32_t lead = byte_at(0);
  if (lead < 0x80) return {lead, 1};
  const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < length) return {};
  std::uint32_t code = lead & (0xFFU >> (length + 1));
  for (std::size_t index = 1; index < length; ++index) {
    if ((byte_at(index) & 0xC0) != 0x80) return {};
    code = code << 6 | (byte_at(index) & 0x3FU);
  }
  static constexpr std::uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
  if (code < smallest[length] || code > 0x10FFFF || surrogate) return {};
  return {code, length};
}

bool is_space(std::uint32_t code) {
  if (code >= 0x2000 && code <= 0x200A) return true;
  switch (code) {
    case ' ':
    case 0x85:
    case 0xA0:
    case 0x1680:
    case 0x2028:
    case 0x2029:
    case 0x202F:
    case 0x205F:
    case 0x3000:
      return true;
    default:
      return (code >= 0x09 && code <= 0x0D) || (code >= 0x1C && code <= 0x1F);
  }
}

}  // namespace

std::string quoted(std::string_view text) {
  std::string line = "'";
  for (const char character : text.substr(0, longest_quote)) {
    const auto byte = static_cast<unsigned char>(character);
    if (byte >= 0x20 && byte < 0x7F) {
      line += character;
    } else {
      append_escaped(line, byte);
    }
  }
  line += text.size() > longest_quote ? "...'" : "'";
  return line;
}

std::string printable(std::string_view text) {
  std::string line;
  while (!text.empty()) {
    const Character character = first_character(text);
    // C1 controls drive terminals as C0 do; U+2028 and U+2029 end lines.
    const bool control = character.code < 0x20 ||
                         (character.code >= 0x7F && character.code < 0xA0) ||
                         character.code == 0x2028 || character.code == 0x2029;
    const std::size_t length = character.length == 0 ? 1 : character.length;
    if (character.length == 0 || control) {
      for (const char byte : text.substr(0, length))
        append_escaped(line, static_cast<unsigned char>(byte));
    } else {
      line += text.substr(0, length);
    }
    text.remove_prefix(length);
  }
  return line;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const Character character = first_character(text);
    if (character.length == 0) return false;
    text.remove_prefix(character.length);
  }
  return true;
}

std::string_view strip(std::string_view text) {
  std::size_t begin = 0;
  std::size_t end = 0;  // one past the last character that is kept
  bool started = false;
  for (std::size_t position = 0; position < text.size();) {
    const Character character = first_character(text.substr(position));
    const std::size_t length = character.length == 0 ? 1 : character.length;
    if (character.length == 0 || !is_space(character.code)) {
      if (!started) begin = position;
      started = true;
      end = position + length;
    }
    position += length;
  }
  return started ? text.substr(begin, end - begin) : std::string_view();
}

}  // namespace levit

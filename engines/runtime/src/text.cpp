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

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const Character character = first_character(text);
    if (!character.valid) return false;
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
    if (!character.valid || !is_space(character.code)) {
      if (!started) begin = position;
      started = true;
      end = position + character.length;
    }
    position += character.length;
  }
  return started ? text.substr(begin, end - begin) : std::string_view();
}

}  // namespace levit

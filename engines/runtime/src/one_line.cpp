#include "one_line.hpp"

namespace levit {
namespace {

constexpr std::size_t longest = 300;

bool is_continuation(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

}  // namespace

std::string one_line(const std::string& said) {
  std::string line;
  bool gap = false;
  for (const char byte : said) {
    const auto value = static_cast<unsigned char>(byte);
    if (value <= 0x20 || value == 0x7F) {
      gap = !line.empty();
      continue;
    }
    if (gap) line += ' ';
    gap = false;
    line += byte;
  }
  if (line.size() <= longest) return line;
  std::size_t end = longest;
  while (end > 0 && is_continuation(line[end])) --end;  // never half a character of UTF-8
  return line.substr(0, end) + "…";
}

}  // namespace levit

#include "decode_png_text.hpp"

#include <zlib.h>

#include <cstddef>

#include "error.hpp"

namespace levit {
namespace {

constexpr std::size_t most_text_bytes = std::size_t{1} << 20;  // PIL.PngImagePlugin.MAX_TEXT_CHUNK

[[noreturn]] void refuse(const std::string& reason) {
  throw Error(Status::input, "cannot be decoded: broken PNG file (" + reason + ")");
}

struct Inflater {
  Inflater() : ready(inflateInit(&stream) == Z_OK) {}
  ~Inflater() { inflateEnd(&stream); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  z_stream stream = {};
  bool ready;
};

// Empty when the stream is damaged, as Pillow has it.
std::optional<std::string> inflated(std::string_view compressed) {
  Inflater inflater;
  if (!inflater.ready) throw Error(Status::memory, "no memory for a text in a PNG file");
  // zlib does not write to its input; its type is older than const.
  inflater.stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(compressed.data()));
  inflater.stream.avail_in = static_cast<uInt>(compressed.size());
  std::string text;
  int result = Z_OK;
  // Piece by piece: a file may have thousands of texts, and few are as long as they may be.
  while (result == Z_OK && inflater.stream.avail_out == 0 && text.size() < most_text_bytes) {
    Bytef piece[4096];
    static_assert(most_text_bytes % sizeof piece == 0);
    inflater.stream.next_out = piece;
    inflater.stream.avail_out = sizeof piece;
    result = inflate(&inflater.stream, Z_SYNC_FLUSH);
    if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) return std::nullopt;
    text.append(reinterpret_cast<const char*>(piece), sizeof piece - inflater.stream.avail_out);
  }
  if (result != Z_STREAM_END && text.size() == most_text_bytes && inflater.stream.avail_in > 0) {
    refuse("more than a mebibyte of text");
  }
  return text;
}

// The part before the first zero byte; `rest` is what follows it.
std::string_view until_zero(std::string_view content, std::string_view& rest) {
  const std::size_t zero = content.find('\0');
  rest = zero == std::string_view::npos ? std::string_view() : content.substr(zero + 1);
  return content.substr(0, zero);
}

std::optional<PngText> international_text(std::string_view content) {
  if (content.find('\0') == std::string_view::npos) return std::nullopt;
  std::string_view rest;
  const std::string_view key = until_zero(content, rest);
  if (rest.size() < 2) return std::nullopt;
  const bool compressed = rest[0] != '\0';
  const bool known_method = rest[1] == '\0';
  rest.remove_prefix(2);
  for (int skipped = 0; skipped < 2; ++skipped) {  // language, translated key
    if (rest.find('\0') == std::string_view::npos) return std::nullopt;
    until_zero(rest, rest);
  }
  if (!compressed) return PngText{std::string(key), std::string(rest)};
  if (!known_method) return std::nullopt;
  std::optional<std::string> text = inflated(rest);
  if (!text) return std::nullopt;
  return PngText{std::string(key), std::move(*text)};
}

}  // namespace

std::optional<PngText> read_png_text(std::string_view kind, std::string_view content) {
  if (kind == "iTXt") return international_text(content);
  std::string_view value;
  const std::string_view key = until_zero(content, value);
  if (key.empty()) return std::nullopt;
  if (kind == "tEXt") return PngText{std::string(key), std::string(value)};
  if (!value.empty()) {
    if (value[0] != '\0') refuse("unknown compression of a text");
    value.remove_prefix(1);
  }
  return PngText{std::string(key), inflated(value).value_or("")};
}

std::vector<std::uint8_t> exif_from_raw_profile(std::string_view text) {
  // A blank line, the name, the length; then digits in lines.
  for (int line = 0; line < 3; ++line) {
    const std::size_t end = text.find('\n');
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  }
  std::vector<std::uint8_t> bytes;
  int pending = -1;
  for (const char character : text) {
    int digit = -1;
    if (character >= '0' && character <= '9') digit = character - '0';
    if (character >= 'a' && character <= 'f') digit = character - 'a' + 10;
    if (character >= 'A' && character <= 'F') digit = character - 'A' + 10;
    if (digit < 0) {
      // Python's bytes.fromhex() skips white space between bytes; the line ends were taken out
      // before, even within one.
      if (character == '\n') continue;
      const bool space = character == ' ' || (character >= '\t' && character <= '\r');
      if (space && pending < 0) continue;
      refuse("an EXIF profile that is no hexadecimal text");
    }
    if (pending < 0) {
      pending = digit;
    } else {
      bytes.push_back(static_cast<std::uint8_t>(pending << 4 | digit));
      pending = -1;
    }
  }
  if (pending >= 0) refuse("an EXIF profile that is no hexadecimal text");
  return bytes;
}

}  // namespace levit

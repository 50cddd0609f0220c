// The text chunks of PNG that can say how an image is turned.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace levit {

struct PngText {
  std::string key;
  std::string text;
};

// The contents of a tEXt, zTXt or iTXt chunk; empty for a chunk that Pillow takes no text from.
// Throws Error(input) for what Pillow refuses: unknown compression, or more than a mebibyte of
// text.
std::optional<PngText> read_png_text(std::string_view kind, std::string_view content);

// The profile that ImageMagick writes as hexadecimal text under "Raw profile type exif". Throws
// Error(input).
std::vector<std::uint8_t> exif_from_raw_profile(std::string_view text);

}  // namespace levit

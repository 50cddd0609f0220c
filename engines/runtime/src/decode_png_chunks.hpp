// The chunks of a PNG file, walked and refused as Pillow does it; the pixels are left to libpng.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "decode_orientation.hpp"

namespace levit {

enum class PngColour : std::uint8_t {
  grey = 0,
  rgb = 2,
  palette = 3,
  grey_alpha = 4,
  rgb_alpha = 6
};

struct PngChunks {
  std::int64_t width = 0;
  std::int64_t height = 0;
  int bit_depth = 0;
  PngColour colour = PngColour::grey;
  bool interlaced = false;
  std::array<std::uint8_t, 256 * 3> palette = {};  // black where the file has no entry
  std::vector<ByteView> data;                      // of the IDAT chunks, inside the file
  OrientationSources orientation;
  std::string xmp;  // where the text in `orientation` lies when it was compressed
};

// Throws Error(input). The orientation is collected only when it is asked for.
PngChunks read_png_chunks(const std::uint8_t* data, std::size_t size, bool with_orientation);

}  // namespace levit

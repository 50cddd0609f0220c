// The markers of a JPEG file up to its first scan, read as Pillow reads them before it asks
// libjpeg.
#pragma once

#include <cstddef>
#include <cstdint>

#include "decode_orientation.hpp"

namespace levit {

struct JpegMarkers {
  int width = 0;
  int height = 0;
  int components = 0;
  OrientationSources orientation;
};

// Throws Error(input) for what Pillow refuses to open. The orientation is collected only when it is
// asked for.
JpegMarkers read_jpeg_markers(const std::uint8_t* data, std::size_t size, bool with_orientation);

}  // namespace levit

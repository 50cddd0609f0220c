// Where an image file says how it wants to be turned: the tag Orientation of EXIF, or of XMP where
// EXIF has none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace levit {

// Bytes that belong to somebody else.
struct ByteView {
  const std::uint8_t* data = nullptr;
  std::size_t size = 0;
};

// What a file holds of both.
struct OrientationSources {
  bool has_exif = false;
  std::vector<std::uint8_t> exif;   // a TIFF structure, possibly after "Exif\0\0"
  std::string_view xmp;             // into the file
  bool exif_may_be_broken = false;  // then it is ignored, else the file is refused
};

// 1 to 8 as EXIF numbers them, 1 when the file says nothing that makes sense. Throws Error(input)
// for a broken EXIF.
int orientation_of(const OrientationSources& sources);

}  // namespace levit

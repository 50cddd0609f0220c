// Puts decoded rows where the orientation of the image wants them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "image.hpp"

namespace levit {

class Placement {
 public:
  // Rows that are placed together, so that a turned image is written in runs and not pixel by
  // pixel.
  static constexpr int block_rows = 16;

  // Sizes `image` for a file of `width` by `height` pixels that is shown turned by `orientation` (1
  // to 8, of EXIF).
  Placement(Image& image, int width, int height, int orientation);

  // Whether a row is stored just as it is, so that a decoder may write to `row` at once.
  bool is_upright() const { return orientation_ == 1; }
  std::uint8_t* row(int row) const;

  // Stores `count` consecutive RGB rows of the file, without gaps, from `first` on.
  void place(int first, int count, const std::uint8_t* rgb) const;

 private:
  std::uint8_t* pixels_;
  int width_;  // of the file
  int height_;
  int orientation_;
};

}  // namespace levit

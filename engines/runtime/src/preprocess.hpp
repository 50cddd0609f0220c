// Resize, crop and normalise, to the very bytes of Pillow and the contract in the manifest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "image.hpp"
#include "manifest.hpp"
#include "resample.hpp"

namespace levit {

// Keeps its working memory from image to image; one for each thread.
class Preprocessor {
 public:
  // Throws Error(argument) when a value of the contract is out of range.
  explicit Preprocessor(const Preprocessing& contract);

  // RGB pixels (side, side, 3) of the resized, cropped image. Throws Error(argument) when the view
  // describes no pixels, Error(input) when the image is too large, or so elongated that resizing it
  // would take too much memory.
  void resize(const PixelView& source, std::uint8_t* rgb);

  // The same pixels normalised, as planes (3, side, side) in float32.
  void normalize(const std::uint8_t* rgb, float* planes) const;

  int side() const { return contract_.image_size; }

  // Memory that grows with the images and is kept.
  std::size_t working_bytes() const { return rows_.capacity(); }

 private:
  int crop_offset(int size) const;
  void resize_columns(const PixelView& source);

  Preprocessing contract_;
  std::vector<float> table_;  // 3 * 256
  ResampleAxis horizontal_;
  ResampleAxis vertical_;
  PlanarRow row_;
  std::vector<std::uint8_t> rows_;  // the window's columns of every row that the second pass needs
};

}  // namespace levit

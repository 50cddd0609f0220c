// An encoded image, as it lies and turned as it says, through the whole preprocessing: pixels or an
// Error.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "decode.hpp"
#include "error.hpp"
#include "preprocess.hpp"
#include "reached.hpp"

namespace {

constexpr int side = 32;
// Larger images say nothing new, and take the time of a thousand small ones.
constexpr std::int64_t most_pixels = 1 << 20;

levit::Preprocessing contract() {
  levit::Preprocessing contract;
  contract.image_size = side;
  contract.resize_size = side + 4;
  contract.crop_rounding = "half_even";
  return contract;
}

void decode_and_preprocess(const std::uint8_t* data, std::size_t size, bool apply_orientation) {
  static levit::Preprocessor preprocessor(contract());
  static levit::Image image;  // one for all, as in a stream of images
  try {
    levit::decode_image(data, size, image, apply_orientation);
    ++levit_fuzz::reached();
    if (std::int64_t{image.width} * image.height > most_pixels) {
      image = levit::Image();
      return;
    }
    std::vector<std::uint8_t> pixels(side * side * 3);
    std::vector<float> planes(side * side * 3);
    preprocessor.resize(
        {image.rgb.data(), image.width, image.height, std::ptrdiff_t{image.width} * 3, false},
        pixels.data());
    preprocessor.normalize(pixels.data(), planes.data());
  } catch (const levit::Error&) {  // the only exception that may leave
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  decode_and_preprocess(data, size, false);
  decode_and_preprocess(data, size, true);
  return 0;
}

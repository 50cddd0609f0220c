// An image that was decoded: RGB, eight bits a channel, rows without gaps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace levit {

// Largest image that is decoded or resized to, as levit_deploy.decoding.MAX_PIXELS.
constexpr std::int64_t max_pixels = std::int64_t{64} * 1024 * 1024;

struct Image {
  int width = 0;
  int height = 0;
  std::vector<std::uint8_t> rgb;  // height * width * 3, and more where an earlier image was larger
  std::vector<std::uint8_t> scratch;  // the decoder's working memory, kept from image to image
};

// Pixels that somebody else owns; `stride` is the number of bytes from one row to the next.
struct PixelView {
  const std::uint8_t* data = nullptr;
  int width = 0;
  int height = 0;
  std::ptrdiff_t stride = 0;
  bool bgr = false;
};

}  // namespace levit

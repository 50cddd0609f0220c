#include "decode_placement.hpp"

#include <cstring>

namespace levit {
namespace {

constexpr std::size_t channels_of_rgb = 3;

}  // namespace

Placement::Placement(Image& image, int width, int height, int orientation)
    : pixels_(nullptr), width_(width), height_(height), orientation_(orientation) {
  const bool on_its_side = orientation >= 5;
  image.width = on_its_side ? height : width;
  image.height = on_its_side ? width : height;
  const std::size_t size =
      static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * channels_of_rgb;
  // Only ever grown: a vector that shrinks and grows again writes zeros that nobody reads.
  if (image.rgb.size() < size) image.rgb.resize(size);
  pixels_ = image.rgb.data();
}

std::uint8_t* Placement::row(int row) const {
  return pixels_ +
         static_cast<std::size_t>(row) * static_cast<std::size_t>(width_) * channels_of_rgb;
}

void Placement::place(int first, int count, const std::uint8_t* rgb) const {
  const std::size_t row_bytes = static_cast<std::size_t>(width_) * channels_of_rgb;
  if (orientation_ == 1) {
    std::memcpy(row(first), rgb, row_bytes * static_cast<std::size_t>(count));
    return;
  }
  const bool on_its_side = orientation_ >= 5;
  const bool columns_reversed =
      orientation_ == 2 || orientation_ == 3 || orientation_ == 7 || orientation_ == 8;
  const bool rows_reversed =
      orientation_ == 3 || orientation_ == 4 || orientation_ == 6 || orientation_ == 7;
  const std::ptrdiff_t shown_width = on_its_side ? height_ : width_;
  // Columns outside, rows inside: the rows of a block lie side by side when the image is on its
  // side.
  for (int column = 0; column < width_; ++column) {
    const std::ptrdiff_t across = columns_reversed ? width_ - 1 - column : column;
    const std::uint8_t* source = rgb + static_cast<std::size_t>(column) * channels_of_rgb;
    for (int line = first; line < first + count; ++line, source += row_bytes) {
      const std::ptrdiff_t down = rows_reversed ? height_ - 1 - line : line;
      const std::ptrdiff_t pixel =
          on_its_side ? across * shown_width + down : down * shown_width + across;
      std::memcpy(pixels_ + pixel * static_cast<std::ptrdiff_t>(channels_of_rgb), source,
                  channels_of_rgb);
    }
  }
}

}  // namespace levit

#include "preprocess.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include "error.hpp"
#include "preprocess_contract.hpp"

namespace levit {
namespace {

constexpr std::size_t levels = 256;

void require_pixels(const PixelView& source) {
  if (source.data == nullptr || source.width < 1 || source.height < 1) {
    throw Error(Status::argument, "no pixels: data, width and height are needed");
  }
  const std::int64_t row_bytes = std::int64_t{source.width} * channels;
  if (source.stride < row_bytes && source.stride > -row_bytes && source.height > 1) {
    throw Error(Status::argument, "stride " + std::to_string(source.stride) +
                                      " is shorter than a row of " + std::to_string(row_bytes) +
                                      " bytes");
  }
  if (std::int64_t{source.width} * source.height > max_pixels) {
    throw Error(Status::input, std::to_string(source.width) + " x " +
                                   std::to_string(source.height) + " pixels exceed the limit of " +
                                   std::to_string(max_pixels) + ": shrink the image");
  }
}

const std::uint8_t* row_of(const PixelView& source, int row) {
  return source.data + row * source.stride;
}

void copy_pixels(const std::uint8_t* from, int count, bool bgr, std::uint8_t* to) {
  if (!bgr) {
    std::memcpy(to, from, static_cast<std::size_t>(count) * channels);
    return;
  }
  for (int pixel = 0; pixel < count; ++pixel, from += channels, to += channels) {
    to[0] = from[2];
    to[1] = from[1];
    to[2] = from[0];
  }
}

}  // namespace

Preprocessor::Preprocessor(const Preprocessing& contract)
    : contract_(contract), table_(channels * levels) {
  require_valid(contract);
  for (std::size_t channel = 0; channel < channels; ++channel) {
    for (std::size_t level = 0; level < levels; ++level) {
      // Each step is rounded to single precision, as NumPy and torchvision do.
      const float unit = static_cast<float>(level) / 255.0F;
      const float centred = unit - contract.mean[channel];
      table_[channel * levels + level] = centred / contract.std[channel];
    }
  }
}

int Preprocessor::crop_offset(int size) const {
  const int excess = size - contract_.image_size;
  const int offset = excess / 2;
  // Half of an odd excess goes to the even neighbour.
  const bool up = contract_.crop_rounding == "half_even" && excess % 2 == 1 && offset % 2 == 1;
  return up ? offset + 1 : offset;
}

void Preprocessor::resize(const PixelView& source, std::uint8_t* rgb) {
  require_pixels(source);
  const auto [shorter, longer] = std::minmax(source.width, source.height);
  // The quotient is rounded to double precision before it is truncated, as in Python.
  const std::int64_t product = std::int64_t{contract_.resize_size} * longer;
  const auto resized = static_cast<std::int64_t>(static_cast<double>(product) / shorter);
  const std::int64_t width = source.width <= source.height ? contract_.resize_size : resized;
  const std::int64_t height = source.width <= source.height ? resized : contract_.resize_size;
  if (std::max(width * source.height, width * height) > max_pixels) {
    throw Error(Status::input, std::to_string(source.width) + " x " +
                                   std::to_string(source.height) +
                                   " pixels are too elongated to resize");
  }
  const int columns = static_cast<int>(width);
  const int lines = static_cast<int>(height);
  horizontal_.prepare(source.width, columns, crop_offset(columns), side());
  vertical_.prepare(source.height, lines, crop_offset(lines), side());
  resize_columns(source);

  const std::size_t row_bytes = static_cast<std::size_t>(side()) * channels;
  if (vertical_.is_identity()) {
    std::memcpy(rgb, rows_.data(), row_bytes * static_cast<std::size_t>(side()));
    return;
  }
  for (int line = 0; line < side(); ++line, rgb += row_bytes) {
    resample_column(vertical_, line, rows_.data(), row_bytes, rgb);
  }
}

void Preprocessor::resize_columns(const PixelView& source) {
  const std::size_t row_bytes = static_cast<std::size_t>(side()) * channels;
  const std::size_t needed =
      row_bytes * static_cast<std::size_t>(vertical_.input_end() - vertical_.input_begin());
  if (rows_.size() < needed) rows_.resize(needed);
  std::uint8_t* output = rows_.data();
  for (int line = vertical_.input_begin(); line < vertical_.input_end();
       ++line, output += row_bytes) {
    const std::uint8_t* const pixels = row_of(source, line);
    if (horizontal_.is_identity()) {
      const std::uint8_t* const from =
          pixels + static_cast<std::ptrdiff_t>(horizontal_.input_begin()) * channels;
      copy_pixels(from, side(), source.bgr, output);
    } else {
      row_.load(pixels, horizontal_.input_begin(), horizontal_.input_end(), source.bgr,
                horizontal_.padded_taps());
      resample_row(horizontal_, row_, output);
    }
  }
}

void Preprocessor::normalize(const std::uint8_t* rgb, float* planes) const {
  const std::size_t pixels = static_cast<std::size_t>(side()) * static_cast<std::size_t>(side());
  const float* const red = table_.data();
  const float* const green = red + levels;
  const float* const blue = green + levels;
  for (std::size_t pixel = 0; pixel < pixels; ++pixel, rgb += channels) {
    planes[pixel] = red[rgb[0]];
    planes[pixels + pixel] = green[rgb[1]];
    planes[2 * pixels + pixel] = blue[rgb[2]];
  }
}

}  // namespace levit

#include "resample.hpp"

#include <algorithm>
#include <cmath>

#include "resample_pixel.hpp"

namespace levit {
namespace {

double bicubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

std::int32_t fixed_point(double weight) {
  // Half away from zero, as the cast of Pillow does.
  const double scaled = weight * (1 << weight_fraction_bits);
  return static_cast<std::int32_t>(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
}

std::uint8_t rounded(std::int32_t sum) {
  return static_cast<std::uint8_t>(std::clamp(sum >> weight_fraction_bits, 0, 255));
}

constexpr std::int32_t half = 1 << (weight_fraction_bits - 1);

constexpr std::size_t block = 16;  // bytes of a row whose sums stay in registers

// `Size` bytes of an output row; the rows that are weighed are `stride` bytes apart.
template <std::size_t Size>
void resample_block(const std::uint8_t* rows, std::size_t stride, const std::int32_t* weights,
                    int taps, std::uint8_t* pixels) {
  std::int32_t sums[Size];
  for (std::size_t byte = 0; byte < Size; ++byte) sums[byte] = half;
  for (int tap = 0; tap < taps; ++tap, rows += stride) {
    const std::int32_t weight = weights[tap];
    for (std::size_t byte = 0; byte < Size; ++byte) sums[byte] += weight * rows[byte];
  }
  for (std::size_t byte = 0; byte < Size; ++byte) pixels[byte] = rounded(sums[byte]);
}

template <typename Weigh>
void weigh_row(const ResampleAxis& axis, const PlanarRow& row, std::uint8_t* output,
               const Weigh& weigh) {
  PixelTaps taps = {};
  taps.count = axis.padded_taps();
  for (int column = 0; column < axis.count(); ++column, output += channels) {
    const std::ptrdiff_t first = axis.first(column) - axis.input_begin();
    taps.red = row.plane(0) + first;
    taps.green = row.plane(1) + first;
    taps.blue = row.plane(2) + first;
    taps.low = axis.low_weights(column);
    taps.high = axis.high_weights(column);
    weigh(taps, output);
  }
}

}  // namespace

void ResampleAxis::prepare(int input_size, int output_size, int begin, int count) {
  if (input_size == input_size_ && output_size == output_size_ && begin == begin_ &&
      count == count_)
    return;
  input_size_ = input_size;
  output_size_ = output_size;
  begin_ = begin;
  count_ = 0;  // nothing is ready until all tables are: memory may run out on the way
  if (is_identity()) {
    count_ = count;
    input_begin_ = begin;
    input_end_ = begin + count;
    return;
  }
  // Pillow hands the box of the image over in single precision.
  const double scale = static_cast<double>(static_cast<float>(input_size)) / output_size;
  const double filter_scale = std::max(scale, 1.0);
  const double support = 2.0 * filter_scale;
  first_.resize(static_cast<std::size_t>(count));
  taps_.resize(static_cast<std::size_t>(count));
  int most_taps = 0;
  for (int output = 0; output < count; ++output) {
    const double centre = (begin + output + 0.5) * scale;
    const int first = std::max(static_cast<int>(centre - support + 0.5), 0);
    const int taps = std::min(static_cast<int>(centre + support + 0.5), input_size) - first;
    first_[static_cast<std::size_t>(output)] = first;
    taps_[static_cast<std::size_t>(output)] = taps;
    most_taps = std::max(most_taps, taps);
  }
  input_begin_ = first_.front();
  input_end_ = first_.back() + taps_.back();

  padded_taps_ = (most_taps + tap_lanes - 1) / tap_lanes * tap_lanes;
  const std::size_t size = offset(count);
  weights_.assign(size, 0);
  low_.assign(size, 0);
  high_.assign(size, 0);
  exact_.resize(static_cast<std::size_t>(padded_taps_));
  for (int output = 0; output < count; ++output) {
    set_weights(output, (begin + output + 0.5) * scale, 1.0 / filter_scale);
  }
  count_ = count;
}

void ResampleAxis::set_weights(int output, double centre, double scale) {
  const int begin = first(output);
  double total = 0.0;
  for (int tap = 0; tap < taps(output); ++tap) {
    const double weight = bicubic((tap + begin - centre + 0.5) * scale);
    exact_[static_cast<std::size_t>(tap)] = weight;
    total += weight;
  }
  std::size_t index = offset(output);
  for (int tap = 0; tap < taps(output); ++tap, ++index) {
    const double exact = exact_[static_cast<std::size_t>(tap)];
    const std::int32_t weight = fixed_point(total != 0.0 ? exact / total : exact);
    const std::int32_t high = (weight + (1 << (low_weight_bits - 1))) >> low_weight_bits;
    weights_[index] = weight;
    high_[index] = static_cast<std::int16_t>(high);
    low_[index] = static_cast<std::int16_t>(weight - high * (1 << low_weight_bits));
  }
}

void PlanarRow::load(const std::uint8_t* pixels, int begin, int end, bool bgr, int padding) {
  const std::size_t count = static_cast<std::size_t>(end - begin);
  length_ = count + static_cast<std::size_t>(padding);
  if (planes_.size() < length_ * channels) planes_.resize(length_ * channels);
  std::int16_t* const red = planes_.data() + (bgr ? 2 * length_ : 0);
  std::int16_t* const green = planes_.data() + length_;
  std::int16_t* const blue = planes_.data() + (bgr ? 0 : 2 * length_);
  const std::uint8_t* source = pixels + static_cast<std::ptrdiff_t>(begin) * channels;
  for (std::size_t pixel = 0; pixel < count; ++pixel, source += channels) {
    red[pixel] = source[0];
    green[pixel] = source[1];
    blue[pixel] = source[2];
  }
}

void resample_row(const ResampleAxis& axis, const PlanarRow& row, std::uint8_t* output) {
  weigh_row(axis, row, output, [](const PixelTaps& taps, std::uint8_t* rgb) {
    weighted_pixel<weight_fraction_bits>(taps, rgb);
  });
}

void resample_row_portable(const ResampleAxis& axis, const PlanarRow& row, std::uint8_t* output) {
  weigh_row(axis, row, output, [](const PixelTaps& taps, std::uint8_t* rgb) {
    weighted_pixel_portable<weight_fraction_bits>(taps, rgb);
  });
}

void resample_column(const ResampleAxis& axis, int output, const std::uint8_t* rows,
                     std::size_t size, std::uint8_t* pixels) {
  const std::int32_t* const weights = axis.weights(output);
  const int taps = axis.taps(output);
  const std::uint8_t* const first =
      rows + static_cast<std::size_t>(axis.first(output) - axis.input_begin()) * size;
  std::size_t begin = 0;
  for (; begin + block <= size; begin += block) {
    resample_block<block>(first + begin, size, weights, taps, pixels + begin);
  }
  for (; begin < size; ++begin)
    resample_block<1>(first + begin, size, weights, taps, pixels + begin);
}

}  // namespace levit

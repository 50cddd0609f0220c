// One axis of Pillow's 8-bit bicubic resize, antialiased, in its fixed-point arithmetic.
// Source: Pillow, src/libImaging/Resample.c (precompute_coeffs, normalize_coeffs_8bpc,
// ImagingResample*_8bpc).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace levit {

constexpr int channels = 3;

// Pillow's sums hold 8 bits of result, 2 bits for what overshoots, and the rest is the fraction of
// a weight.
constexpr int weight_fraction_bits = 32 - 8 - 2;

// What each output pixel of a window takes from the input. The memory is kept from one `prepare` to
// the next.
class ResampleAxis {
 public:
  // For outputs `begin` to `begin + count` of `input_size` pixels resized to `output_size`. Cheap
  // when nothing changed.
  void prepare(int input_size, int output_size, int begin, int count);

  // Whether the resize leaves this axis as it is; the window is then only cut out.
  bool is_identity() const { return input_size_ == output_size_; }

  int count() const { return count_; }

  // Input pixels that the window touches.
  int input_begin() const { return input_begin_; }
  int input_end() const { return input_end_; }

  // Of one output: its first input pixel, how many it takes, and their weights.
  int first(int output) const { return first_[static_cast<std::size_t>(output)]; }
  int taps(int output) const { return taps_[static_cast<std::size_t>(output)]; }
  const std::int32_t* weights(int output) const { return weights_.data() + offset(output); }

  // The same weights in two halves, weight = high * 2048 + low, so that they fit the 16-bit
  // multipliers that every CPU has many of; zeros follow up to `padded_taps`.
  const std::int16_t* low_weights(int output) const { return low_.data() + offset(output); }
  const std::int16_t* high_weights(int output) const { return high_.data() + offset(output); }
  int padded_taps() const { return padded_taps_; }

 private:
  std::size_t offset(int output) const {
    return static_cast<std::size_t>(output) * static_cast<std::size_t>(padded_taps_);
  }
  void set_weights(int output, double centre, double scale);

  int input_size_ = 0;
  int output_size_ = 0;
  int begin_ = 0;
  int count_ = 0;
  int input_begin_ = 0;
  int input_end_ = 0;
  int padded_taps_ = 0;
  std::vector<int> first_;
  std::vector<int> taps_;
  std::vector<std::int32_t> weights_;
  std::vector<std::int16_t> low_;
  std::vector<std::int16_t> high_;
  std::vector<double> exact_;
};

// Three planes of 16-bit pixels: one row taken apart, with room for the padding of the weights.
class PlanarRow {
 public:
  // Takes the pixels `begin` to `end` of an interleaved row; `pixels` points at pixel 0.
  void load(const std::uint8_t* pixels, int begin, int end, bool bgr, int padding);

  // Plane of a channel; it begins with the first pixel that was taken.
  const std::int16_t* plane(int channel) const {
    return planes_.data() + static_cast<std::size_t>(channel) * length_;
  }

 private:
  std::size_t length_ = 0;
  std::vector<std::int16_t> planes_;
};

// The window of one row, which was loaded from axis.input_begin() on: count() RGB pixels.
void resample_row(const ResampleAxis& axis, const PlanarRow& row, std::uint8_t* output);

// The same without instructions of one family of CPUs: what others run, and tests everywhere.
void resample_row_portable(const ResampleAxis& axis, const PlanarRow& row, std::uint8_t* output);

// One output row of `size` bytes from the rows that `axis` weighs; `rows` points at input row
// axis.input_begin().
void resample_column(const ResampleAxis& axis, int output, const std::uint8_t* rows,
                     std::size_t size, std::uint8_t* pixels);

}  // namespace levit

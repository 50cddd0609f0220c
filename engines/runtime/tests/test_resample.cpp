#include <doctest/doctest.h>

#include <cstdint>
#include <cstdlib>
#include <numeric>
#include <vector>

#include "resample.hpp"

namespace {

int sum_of_weights(const levit::ResampleAxis& axis, int output) {
  return std::accumulate(axis.weights(output), axis.weights(output) + axis.taps(output), 0);
}

}  // namespace

TEST_CASE("resample: weights add up to one, whatever the sizes") {
  for (const int input : {1, 2, 3, 7, 100, 4001}) {
    for (const int output : {1, 2, 5, 64, 1000}) {
      levit::ResampleAxis axis;
      axis.prepare(input, output, 0, output);
      if (axis.is_identity()) continue;
      for (int i = 0; i < output; ++i) {
        // Each weight is rounded by at most a half.
        CHECK(std::abs(sum_of_weights(axis, i) - (1 << levit::weight_fraction_bits)) <=
              axis.taps(i));
        CHECK(axis.first(i) >= 0);
        CHECK(axis.first(i) + axis.taps(i) <= input);
      }
    }
  }
}

TEST_CASE("resample: a window has the weights of the whole") {
  levit::ResampleAxis whole;
  levit::ResampleAxis window;
  whole.prepare(500, 200, 0, 200);
  window.prepare(500, 200, 40, 100);
  for (int i = 0; i < 100; ++i) {
    CHECK(window.first(i) == whole.first(40 + i));
    CHECK(window.taps(i) == whole.taps(40 + i));
    for (int tap = 0; tap < window.taps(i); ++tap)
      CHECK(window.weights(i)[tap] == whole.weights(40 + i)[tap]);
  }
  CHECK(window.input_begin() == window.first(0));
  CHECK(window.input_end() == window.first(99) + window.taps(99));
}

TEST_CASE("resample: the halves of a weight are the weight") {
  levit::ResampleAxis axis;
  axis.prepare(777, 50, 0, 50);
  for (int i = 0; i < 50; ++i) {
    for (int tap = 0; tap < axis.padded_taps(); ++tap) {
      const int weight = tap < axis.taps(i) ? axis.weights(i)[tap] : 0;
      CHECK(axis.high_weights(i)[tap] * 2048 + axis.low_weights(i)[tap] == weight);
    }
  }
}

TEST_CASE("resample: a row and a column of the same pixels come out the same") {
  // The two passes have separate arithmetic.
  for (const int input : {3, 40, 300, 9000}) {
    constexpr int output = 24;
    levit::ResampleAxis axis;
    axis.prepare(input, output, 0, output);
    std::vector<std::uint8_t> pixels(static_cast<std::size_t>(input) * 3);
    for (std::size_t i = 0; i < pixels.size(); ++i)
      pixels[i] = static_cast<std::uint8_t>((i * 2654435761U) >> 24 > 127 ? 255 : 0);
    levit::PlanarRow row;
    row.load(pixels.data(), axis.input_begin(), axis.input_end(), false, axis.padded_taps());
    std::vector<std::uint8_t> horizontal(output * 3);
    levit::resample_row(axis, row, horizontal.data());
    for (int i = 0; i < output; ++i) {
      std::uint8_t vertical[3];
      levit::resample_column(axis, i, pixels.data() + 3 * axis.input_begin(), 3, vertical);
      for (std::size_t channel = 0; channel < 3; ++channel)
        CHECK(vertical[channel] == horizontal[static_cast<std::size_t>(3 * i) + channel]);
    }
  }
}

TEST_CASE("resample: every CPU gives the same bytes") {
  for (const int input : {1, 2, 3, 17, 40, 300, 9000}) {
    for (const int output : {1, 7, 24, 311}) {
      CAPTURE(input);
      CAPTURE(output);
      levit::ResampleAxis axis;
      axis.prepare(input, output, 0, output);
      if (axis.is_identity()) continue;
      std::vector<std::uint8_t> pixels(static_cast<std::size_t>(input) * 3);
      for (const std::uint32_t kind : {0U, 1U}) {  // noise, and black and white, which overshoots
        std::uint32_t state = 12345;
        for (std::uint8_t& pixel : pixels) {
          state = state * 1664525U + 1013904223U;
          pixel = static_cast<std::uint8_t>(kind == 0 ? state >> 24 : (state >> 31) * 255);
        }
        levit::PlanarRow row;
        row.load(pixels.data(), axis.input_begin(), axis.input_end(), false, axis.padded_taps());
        std::vector<std::uint8_t> usual(static_cast<std::size_t>(output) * 3);
        std::vector<std::uint8_t> portable(usual.size());
        levit::resample_row(axis, row, usual.data());
        levit::resample_row_portable(axis, row, portable.data());
        CHECK(usual == portable);
      }
    }
  }
}

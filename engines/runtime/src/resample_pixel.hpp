// The innermost step of the horizontal pass: one RGB pixel out of three planes.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace levit {

// Of the taps of a weight: high * 2048 + low is the whole.
constexpr int low_weight_bits = 11;

// Taps that are weighed at once; the weights are padded with zeros to a multiple of them.
constexpr int tap_lanes = 8;

struct PixelTaps {
  const std::int16_t* red;
  const std::int16_t* green;
  const std::int16_t* blue;
  const std::int16_t* low;   // weights
  const std::int16_t* high;  // weights
  int count;                 // a multiple of tap_lanes
};

// Sums are taken modulo 2^32, as parts of them may overflow; the whole never does. `fraction_bits`
// of it are rounded off.
inline std::uint32_t weighted_sum(const std::int16_t* plane, const PixelTaps& taps) {
  std::uint32_t low = 0;
  std::uint32_t high = 0;
  for (int tap = 0; tap < taps.count; ++tap) {
    low += static_cast<std::uint32_t>(std::int32_t{plane[tap]} * taps.low[tap]);
    high += static_cast<std::uint32_t>(std::int32_t{plane[tap]} * taps.high[tap]);
  }
  return (high << low_weight_bits) + low;
}

template <int FractionBits>
void weighted_pixel_portable(const PixelTaps& taps, std::uint8_t* rgb) {
  const auto rounded = [](std::uint32_t sum) {
    const std::int32_t value =
        static_cast<std::int32_t>(sum + (1U << (FractionBits - 1))) >> FractionBits;
    return static_cast<std::uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
  };
  rgb[0] = rounded(weighted_sum(taps.red, taps));
  rgb[1] = rounded(weighted_sum(taps.green, taps));
  rgb[2] = rounded(weighted_sum(taps.blue, taps));
}

#if defined(__SSE2__)

// Compilers turn the loop above into scalar code when it is short, which photographs make it; this
// is six times faster.
inline __m128i weighted_lanes(const std::int16_t* plane, const PixelTaps& taps) {
  __m128i low = _mm_setzero_si128();
  __m128i high = _mm_setzero_si128();
  const auto load = [](const std::int16_t* from) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  };
  for (int tap = 0; tap < taps.count; tap += tap_lanes) {
    const __m128i pixels = load(plane + tap);
    low = _mm_add_epi32(low, _mm_madd_epi16(pixels, load(taps.low + tap)));
    high = _mm_add_epi32(high, _mm_madd_epi16(pixels, load(taps.high + tap)));
  }
  return _mm_add_epi32(_mm_slli_epi32(high, low_weight_bits), low);
}

template <int FractionBits>
void weighted_pixel(const PixelTaps& taps, std::uint8_t* rgb) {
  const __m128i red = weighted_lanes(taps.red, taps);
  const __m128i green = weighted_lanes(taps.green, taps);
  const __m128i blue = weighted_lanes(taps.blue, taps);
  // Four partial sums of each channel to one.
  const __m128i zero = _mm_setzero_si128();
  const __m128i red_green =
      _mm_add_epi32(_mm_unpacklo_epi32(red, green), _mm_unpackhi_epi32(red, green));
  const __m128i blue_only =
      _mm_add_epi32(_mm_unpacklo_epi32(blue, zero), _mm_unpackhi_epi32(blue, zero));
  const __m128i sums = _mm_add_epi32(_mm_unpacklo_epi64(red_green, blue_only),
                                     _mm_unpackhi_epi64(red_green, blue_only));
  const __m128i rounded =
      _mm_srai_epi32(_mm_add_epi32(sums, _mm_set1_epi32(1 << (FractionBits - 1))), FractionBits);
  const __m128i words = _mm_packs_epi32(rounded, zero);
  const int bytes = _mm_cvtsi128_si32(_mm_packus_epi16(words, zero));  // saturates to 0..255
  std::memcpy(rgb, &bytes, 3);
}

#else

template <int FractionBits>
void weighted_pixel(const PixelTaps& taps, std::uint8_t* rgb) {
  weighted_pixel_portable<FractionBits>(taps, rgb);
}

#endif

}  // namespace levit

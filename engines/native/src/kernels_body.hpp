// The inner loops, for the instruction set that the including file is compiled for. No header of
// the standard library with functions in it may be included here: the linker might keep this file's
// copy of them for every CPU.
#include <cstddef>
#include <cstdint>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "kernels.hpp"

namespace levit::native {
namespace {

// A tile of results stays in registers: of 32 where there are so many, else of 16, less those for a
// row of weights and for a factor.
#if defined(__AVX512F__)
constexpr int lanes = 16;
constexpr int tile_rows = 12;
constexpr int tile_vectors = 2;
#elif defined(__AVX2__)
constexpr int lanes = 8;
constexpr int tile_rows = 6;
constexpr int tile_vectors = 2;
#elif defined(__aarch64__)
constexpr int lanes = 4;
constexpr int tile_rows = 6;
constexpr int tile_vectors = 4;
#else
constexpr int lanes = 4;
constexpr int tile_rows = 5;
constexpr int tile_vectors = 2;
#endif
constexpr int panel_columns = lanes * tile_vectors;

typedef float Vector __attribute__((vector_size(lanes * sizeof(float))));
typedef std::int32_t Integers __attribute__((vector_size(lanes * sizeof(float))));

inline Vector load(const float* from) {
  Vector value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}

inline void store(float* to, Vector value) { __builtin_memcpy(to, &value, sizeof value); }

inline Vector broadcast(float value) { return value - Vector{}; }

// a * b + c, rounded once where the instruction set can: said, not left to the compiler, which may
// do so in one tile and not in another.
inline Vector multiply_add(Vector a, Vector b, Vector c) {
#if defined(__AVX512F__)
  return Vector(_mm512_fmadd_ps(__m512(a), __m512(b), __m512(c)));
#elif defined(__AVX2__)
  return Vector(_mm256_fmadd_ps(__m256(a), __m256(b), __m256(c)));
#elif defined(__aarch64__)
  return Vector(vfmaq_f32(float32x4_t(c), float32x4_t(a), float32x4_t(b)));
#else
  return a * b + c;
#endif
}

// Said too, as compilers make two instructions of a choice. (With a mask, as GCC warns without.)
#if defined(__AVX512F__)
inline Vector smaller(Vector a, Vector b) {
  return Vector(_mm512_maskz_min_ps(0xFFFF, __m512(a), __m512(b)));
}
inline Vector larger(Vector a, Vector b) {
  return Vector(_mm512_maskz_max_ps(0xFFFF, __m512(a), __m512(b)));
}
#elif defined(__AVX2__)
inline Vector smaller(Vector a, Vector b) { return Vector(_mm256_min_ps(__m256(a), __m256(b))); }
inline Vector larger(Vector a, Vector b) { return Vector(_mm256_max_ps(__m256(a), __m256(b))); }
#else
inline Vector smaller(Vector a, Vector b) { return a < b ? a : b; }
inline Vector larger(Vector a, Vector b) { return a > b ? a : b; }
#endif

inline Vector hard_swish(Vector x) {
  const Vector gate = multiply_add(x, broadcast(1.0F / 6), broadcast(0.5F));
  return x * larger(smaller(gate, broadcast(1)), broadcast(0));
}

// exp(x) for x not above 0. Source: Cephes, expf: ln 2 in two parts, a polynomial of degree 5
// between halves.
inline Vector exponential(Vector x) {
  x = larger(x, broadcast(-87));
  const Vector rounding = broadcast(12582912);  // 1.5 * 2^23: what is added to it becomes whole
  const Vector shifted = multiply_add(x, broadcast(1.44269504F), rounding);
  const Vector power = shifted - rounding;
  Vector rest = multiply_add(power, broadcast(-0.693359375F), x);
  rest = multiply_add(power, broadcast(2.12194440e-4F), rest);
  constexpr float coefficients[] = {1.3981999507e-3F, 8.3334519073e-3F, 4.1665795894e-2F,
                                    1.6666665459e-1F, 5.0000001201e-1F};
  Vector series = broadcast(1.9875691500e-4F);
  for (const float next : coefficients) series = multiply_add(series, rest, broadcast(next));
  series = multiply_add(series * rest, rest, rest + broadcast(1));
  Integers exponent;
  Integers bits;
  __builtin_memcpy(&exponent, &shifted, sizeof exponent);
  __builtin_memcpy(&bits, &series, sizeof bits);
  bits += exponent << 23;
  __builtin_memcpy(&series, &bits, sizeof series);
  return series;
}

#if defined(__AVX512F__)
inline float sum(Vector value) { return _mm512_reduce_add_ps(__m512(value)); }

inline float largest(Vector value) { return _mm512_reduce_max_ps(__m512(value)); }
#else
inline float sum(Vector value) {
  float total = 0;
  for (int lane = 0; lane < lanes; ++lane) total += value[lane];
  return total;
}

inline float largest(Vector value) {
  float most = value[0];
  for (int lane = 1; lane < lanes; ++lane) most = value[lane] > most ? value[lane] : most;
  return most;
}
#endif

// Weights of one panel: row k begins at `first + k * stride`.
struct Weights {
  const float* first;
  std::ptrdiff_t stride;
};

// Row `row` from 0 to 11 of a tile. An address may have one register times 1, 2, 4 or 8, so six odd
// multiples of the stride reach all of them; a pointer to each row would not fit into the
// registers.
struct RowSteps {
  explicit RowSteps(std::ptrdiff_t stride)
      : one(stride * std::ptrdiff_t{sizeof(float)}),
        three(3 * one),
        five(5 * one),
        seven(7 * one),
        nine(9 * one),
        eleven(11 * one) {}

  const float& row(const float* first, int row) const {
    const std::ptrdiff_t odd[]{0,     one,   one, three, one,  five,
                               three, seven, one, nine,  five, eleven};
    constexpr std::ptrdiff_t times[]{0, 1, 2, 1, 4, 1, 2, 1, 8, 1, 2, 1};
    return *reinterpret_cast<const float*>(reinterpret_cast<const char*>(first) +
                                           odd[row] * times[row]);
  }

  std::ptrdiff_t one, three, five, seven, nine, eleven;
};

// By itself a CPU does not look beyond the end of a page, and the weights of a network come from
// far away: so many floats ahead they are asked for.
constexpr std::ptrdiff_t floats_ahead = 1536;
constexpr int line_floats = 16;

inline Columns moved(const Columns& columns, int by) {
  const auto from = [by](const float* first) { return first == nullptr ? nullptr : first + by; };
  return {from(columns.bias), from(columns.scales), from(columns.corrections)};
}

inline Grid moved(Grid grid, std::ptrdiff_t row, std::ptrdiff_t column) {
  return {grid.first + row * grid.stride + column, grid.stride};
}

// Kinds of numbers, in words as large as a float: what a product adds for one word of a row and a
// vector of words of the weights, and what the sums mean.
struct Floats {
  using Sums = Vector;
  static Sums start(const Columns& of) { return of.bias == nullptr ? Vector{} : load(of.bias); }
  static Sums add_product(const float& word, Vector weights, Sums sums) {
    return multiply_add(broadcast(word), weights, sums);
  }
  static Vector value(Sums sums, const Columns&) { return sums; }
};

#if defined(__AVX512BW__) || defined(__AVX2__)
constexpr int bytes_in_word = 4;

struct Bytes {
  using Sums = Integers;
  static Sums start(const Columns&) { return Integers{}; }
  // Of four unsigned bytes and four signed ones.
  static Sums add_product(const float& word, Vector weights, Sums sums) {
    int bytes;
    __builtin_memcpy(&bytes, &word, sizeof bytes);
#if defined(__AVX512VNNI__)
    return Integers(_mm512_dpbusd_epi32(__m512i(sums), _mm512_set1_epi32(bytes), __m512i(weights)));
#elif defined(__AVX512BW__)
    const __m512i pairs = _mm512_maddubs_epi16(_mm512_set1_epi32(bytes), __m512i(weights));
    return sums + Integers(_mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
#else
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi32(bytes), __m256i(weights));
    return sums + Integers(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
#endif
  }
  static Vector value(Sums sums, const Columns& of) {
    const Vector corrected = __builtin_convertvector(sums, Vector) - load(of.corrections);
    return multiply_add(corrected, load(of.scales), load(of.bias));
  }
};
#else
constexpr int bytes_in_word = 1;

// As whole numbers in floats: without instructions for bytes there are none that are faster.
struct Bytes {
  using Sums = Vector;
  static Sums start(const Columns&) { return Vector{}; }
  static Sums add_product(const float& word, Vector weights, Sums sums) {
    return multiply_add(broadcast(word), weights, sums);
  }
  static Vector value(Sums sums, const Columns& of) {
    return multiply_add(sums - load(of.corrections), load(of.scales), load(of.bias));
  }
};
#endif

// All loops over the sums are unrolled, so that they stay in registers.
template <class Numbers, int row_count, int vector_count, After after>
inline void tile(const Rows& rows, const Weights& weights, const Columns& of, Grid result,
                 Grid addend) {
  typename Numbers::Sums sums[row_count][vector_count];
#pragma GCC unroll 4
  for (int v = 0; v < vector_count; ++v) {
    const auto start = Numbers::start(moved(of, v * lanes));
#pragma GCC unroll 16
    for (int r = 0; r < row_count; ++r) sums[r][v] = start;
  }
  const RowSteps steps(rows.stride);
  const float* factors = weights.first;
  for (int segment = 0; segment < rows.segments; ++segment) {
    const float* from = rows.first + segment * rows.segment_stride;
    const float* const end = from + rows.run;
    for (; from != end; ++from, factors += weights.stride) {
      Vector row_of_weights[vector_count];
#pragma GCC unroll 4
      for (int v = 0; v < vector_count; ++v) row_of_weights[v] = load(factors + v * lanes);
#pragma GCC unroll 4
      for (int v = 0; v < vector_count * lanes; v += line_floats) {
        __builtin_prefetch(factors + floats_ahead + v);
      }
#pragma GCC unroll 16
      for (int r = 0; r < row_count; ++r) {
        const float& word = steps.row(from, r);
#pragma GCC unroll 4
        for (int v = 0; v < vector_count; ++v)
          sums[r][v] = Numbers::add_product(word, row_of_weights[v], sums[r][v]);
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < row_count; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < vector_count; ++v) {
      Vector value = Numbers::value(sums[r][v], moved(of, v * lanes));
      if (after == After::hard_swish) value = hard_swish(value);
      if (after == After::add) value += load(addend.first + r * addend.stride + v * lanes);
      store(result.first + r * result.stride + v * lanes, value);
    }
  }
}

// A tile of `count` rows, from 1 to `most`.
template <class Numbers, int vector_count, After after, int most = tile_rows>
inline void tile_of(int count, const Rows& rows, const Weights& weights, const Columns& of,
                    Grid result, Grid addend) {
  if constexpr (most > 0) {
    if (count == most) {
      tile<Numbers, most, vector_count, after>(rows, weights, of, result, addend);
    } else {
      tile_of<Numbers, vector_count, after, most - 1>(count, rows, weights, of, result, addend);
    }
  }
}

template <class Numbers, After after>
void panel_of(int count, const Rows& rows, const float* panel, int columns, const Columns& of,
              Grid result, Grid addend) {
  const Weights weights{panel, columns};
  if (columns == panel_columns) {
    tile_of<Numbers, tile_vectors, after>(count, rows, weights, of, result, addend);
    return;
  }
  // The last panel may be narrower: one vector after the other.
  for (int column = 0; column < columns; column += lanes) {
    tile_of<Numbers, 1, after>(count, rows, {panel + column, columns}, moved(of, column),
                               moved(result, 0, column), moved(addend, 0, column));
  }
}

// Calls `visit(first, count)` for tiles that share the rows [begin, end) out evenly: a tile of one
// row would leave most of the registers empty.
template <class Visit>
inline void share_out(int begin, int end, const Visit& visit) {
  const int count = end - begin;
  const int tiles = (count + tile_rows - 1) / tile_rows;
  for (int number = 0; number < tiles; ++number) {
    const int first = begin + count * number / tiles;
    visit(first, begin + count * (number + 1) / tiles - first);
  }
}

inline int columns_of(int panel, int columns) {
  const int left = columns - panel * panel_columns;
  return left < panel_columns ? left : panel_columns;
}

// `given` are the rows in words, of which each panel has one row of weights.
template <class Numbers, After after>
void multiply_rows(const Product& product, const Rows& given, int begin, int end, int panel) {
  const int column = panel * panel_columns;
  const std::ptrdiff_t depth = std::ptrdiff_t{given.segments} * given.run;
  const float* weights = product.panels + column * depth;
  const int columns = columns_of(panel, product.columns);
  share_out(begin, end, [&](int first, int count) {
    Rows rows = given;
    rows.first += first * rows.stride;
    const Grid result = moved(product.result, first, column);
    panel_of<Numbers, after>(count, rows, weights, columns, moved(product.of, column), result,
                             result);
  });
}

template <class Numbers>
void multiply_panels(const Product& product, const Rows& rows, int begin, int end, int first_panel,
                     int end_panel) {
  for (int panel = first_panel; panel < end_panel; ++panel) {
    switch (product.after) {
      case After::nothing:
        multiply_rows<Numbers, After::nothing>(product, rows, begin, end, panel);
        break;
      case After::hard_swish:
        multiply_rows<Numbers, After::hard_swish>(product, rows, begin, end, panel);
        break;
      case After::add:
        multiply_rows<Numbers, After::add>(product, rows, begin, end, panel);
        break;
    }
  }
}

void multiply(const Product& product, int begin, int end, int first_panel, int end_panel) {
  multiply_panels<Floats>(product, product.rows, begin, end, first_panel, end_panel);
}

std::size_t packed_floats(int columns, int depth) {
  return static_cast<std::size_t>(columns) * static_cast<std::size_t>(depth);
}

// Each panel is (depth, columns).
void pack(const float* weights, int outputs, int columns, int depth, float* panels) {
  for (int first = 0; first < columns; first += panel_columns) {
    const int wide = columns_of(first / panel_columns, columns);
    float* const panel = panels + std::ptrdiff_t{first} * depth;
    for (int column = 0; column < wide; ++column) {
      const bool is_padding = first + column >= outputs;
      const float* from = weights + std::ptrdiff_t{is_padding ? 0 : first + column} * depth;
      for (int k = 0; k < depth; ++k) {
        panel[std::ptrdiff_t{k} * wide + column] = is_padding ? 0 : from[k];
      }
    }
  }
}

constexpr Products float_products{
    panel_columns, 1, packed_floats, pack, nullptr, nullptr, multiply,
};

inline int words_of(int depth) { return (depth + bytes_in_word - 1) / bytes_in_word; }

std::size_t packed_words(int columns, int depth) { return packed_floats(columns, words_of(depth)); }

inline void put_byte(float* words, std::ptrdiff_t word, int place, float value) {
#if defined(__AVX512BW__) || defined(__AVX2__)
  reinterpret_cast<signed char*>(words + word)[place] = static_cast<signed char>(value);
#else
  words[word + place] = value;
#endif
}

// Each panel is (words of the depth, columns).
void pack_bytes(const float* weights, int outputs, int columns, int depth, float* panels) {
  const int words = words_of(depth);
  for (int first = 0; first < columns; first += panel_columns) {
    const int wide = columns_of(first / panel_columns, columns);
    float* const panel = panels + std::ptrdiff_t{first} * words;
    for (int column = 0; column < wide && first + column < outputs; ++column) {
      const float* from = weights + std::ptrdiff_t{first + column} * depth;
      for (int k = 0; k < depth; ++k) {
        put_byte(panel, std::ptrdiff_t{k / bytes_in_word} * wide + column, k % bytes_in_word,
                 from[k]);
      }
    }
  }
}

// Rows of words, a cache line more apart than they are long.
inline int word_stride(int depth) {
  return (words_of(depth) + line_floats - 1) / line_floats * line_floats + line_floats;
}

std::size_t prepared_words(int rows, int depth) { return packed_floats(rows, word_stride(depth)); }

// Whole numbers from 0 to 255. Halves go to the even neighbour before the offset is added, as ONNX
// has it: adding 1.5 * 2^23 rounds so.
inline Vector rounded(Vector value, const Rounding& rounding) {
  const Vector offset = broadcast(rounding.offset), shift = broadcast(12582912);
  const Vector steps = value * broadcast(rounding.steps);
  const Vector within = larger(smaller(steps, broadcast(255) - offset), -offset);
  return ((within + shift) - shift) + offset;
}

inline void store_bytes(float* to, Vector whole) {
#if defined(__AVX512BW__)
  const __m128i bytes = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(__m512(whole)));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), bytes);
#elif defined(__AVX2__)
  const __m256i integers = _mm256_cvtps_epi32(__m256(whole));
  const __m128i halves =
      _mm_packus_epi32(_mm256_castsi256_si128(integers), _mm256_extracti128_si256(integers, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_packus_epi16(halves, halves));
#else
  store(to, whole);
#endif
}

// Rows of one segment, as linear layers have them; their depth is a multiple of `lanes`.
void prepare_bytes(const Rows& rows, const Rounding& rounding, int begin, int end,
                   float* prepared) {
  for (int row = begin; row < end; ++row) {
    const float* from = rows.first + row * rows.stride;
    float* to = prepared + std::ptrdiff_t{row} * word_stride(rows.run);
    for (int k = 0; k < rows.run; k += lanes) {
      store_bytes(to + k / bytes_in_word, rounded(load(from + k), rounding));
    }
  }
}

void multiply_bytes(const Product& product, int begin, int end, int first_panel, int end_panel) {
  const int depth = product.rows.run;
  const Rows words{product.prepared, word_stride(depth), 1, 0, words_of(depth)};
  multiply_panels<Bytes>(product, words, begin, end, first_panel, end_panel);
}

constexpr Products byte_products{
    panel_columns, 1, packed_words, pack_bytes, prepared_words, prepare_bytes, multiply_bytes,
};

std::size_t attention_scratch(int key_count, int key_width) {
  return static_cast<std::size_t>(padded(key_count)) *
         static_cast<std::size_t>(key_width + tile_rows);
}

// Keys as the weights of a product have to be: (key_width, keys), in panels; columns without a key
// are those of key 0.
void transpose_keys(const AttentionHead& head, float* panels) {
  const int wide = padded(head.key_count);
  for (int panel = 0; panel * panel_columns < wide; ++panel) {
    const int columns = columns_of(panel, wide);
    float* to = panels + std::ptrdiff_t{panel} * panel_columns * head.key_width;
    for (int column = 0; column < columns; ++column) {
      const int key = panel * panel_columns + column;
      const float* from = head.keys + (key < head.key_count ? key : 0) * head.key_stride;
      for (int k = 0; k < head.key_width; ++k) to[k * columns + column] = from[k];
    }
  }
}

// exp of the row less its largest value, in place; one over their sum.
float exponentials(float* row, int wide) {
  Vector most = load(row);
  for (int column = lanes; column < wide; column += lanes) most = larger(most, load(row + column));
  const Vector top = broadcast(largest(most));
  Vector total{};
  for (int column = 0; column < wide; column += lanes) {
    const Vector value = exponential(load(row + column) - top);
    store(row + column, value);
    total += value;
  }
  return 1 / sum(total);
}

void attend(const AttentionHead& head, int begin, int end, float* scratch) {
  const int wide = padded(head.key_count);
  float* const keys = scratch;
  float* const scores = scratch + std::ptrdiff_t{wide} * head.key_width;
  transpose_keys(head, keys);
  share_out(begin, end, [&](int first, int count) {
    const Rows queries{head.queries + first * head.query_stride, head.query_stride, 1, 0,
                       head.key_width};
    // Only read: a Grid can do both.
    const Grid bias{const_cast<float*>(head.bias) + std::ptrdiff_t{first} * wide, wide};
    for (int panel = 0; panel * panel_columns < wide; ++panel) {
      const int column = panel * panel_columns;
      panel_of<Floats, After::add>(count, queries, keys + std::ptrdiff_t{column} * head.key_width,
                                   columns_of(panel, wide), Columns{}, {scores + column, wide},
                                   moved(bias, 0, column));
    }
    float shares[tile_rows];
    for (int r = 0; r < count; ++r)
      shares[r] = exponentials(scores + std::ptrdiff_t{r} * wide, wide);
    const Rows weights{scores, wide, 1, 0, head.key_count};
    for (int column = 0; column < head.value_width; column += panel_columns) {
      const Grid result = moved(head.result, first, column);
      tile_of<Floats, tile_vectors, After::nothing>(
          count, weights, {head.values + column, head.key_stride}, Columns{}, result, result);
      for (int r = 0; r < count; ++r) {
        for (int v = 0; v < tile_vectors; ++v) {
          float* const at = result.first + r * result.stride + v * lanes;
          store(at, hard_swish(load(at) * broadcast(shares[r])));
        }
      }
    }
  });
}

constexpr Kernels vector_kernels{LEVIT_KERNELS, tile_rows, float_products,   float_products,
                                 byte_products, attend,    attention_scratch};

}  // namespace
}  // namespace levit::native

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

inline Vector smaller(Vector a, Vector b) { return a < b ? a : b; }

inline Vector larger(Vector a, Vector b) { return a > b ? a : b; }

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

// All loops over the sums are unrolled, so that they stay in registers.
template <int row_count, int vector_count, After after>
inline void tile(const Rows& rows, const Weights& weights, const float* bias, Grid result,
                 Grid addend) {
  Vector sums[row_count][vector_count];
#pragma GCC unroll 4
  for (int v = 0; v < vector_count; ++v) {
    const Vector start = bias == nullptr ? Vector{} : load(bias + v * lanes);
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
        const Vector value = broadcast(steps.row(from, r));
#pragma GCC unroll 4
        for (int v = 0; v < vector_count; ++v)
          sums[r][v] = multiply_add(value, row_of_weights[v], sums[r][v]);
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < row_count; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < vector_count; ++v) {
      Vector value = sums[r][v];
      if (after == After::hard_swish) value = hard_swish(value);
      if (after == After::add) value += load(addend.first + r * addend.stride + v * lanes);
      store(result.first + r * result.stride + v * lanes, value);
    }
  }
}

// A tile of `count` rows, from 1 to `most`.
template <int vector_count, After after, int most = tile_rows>
inline void tile_of(int count, const Rows& rows, const Weights& weights, const float* bias,
                    Grid result, Grid addend) {
  if constexpr (most > 0) {
    if (count == most) {
      tile<most, vector_count, after>(rows, weights, bias, result, addend);
    } else {
      tile_of<vector_count, after, most - 1>(count, rows, weights, bias, result, addend);
    }
  }
}

inline Grid moved(Grid grid, std::ptrdiff_t row, std::ptrdiff_t column) {
  return {grid.first + row * grid.stride + column, grid.stride};
}

template <After after>
void panel_of(int count, const Rows& rows, const float* panel, int columns, const float* bias,
              Grid result, Grid addend) {
  const Weights weights{panel, columns};
  if (columns == panel_columns) {
    tile_of<tile_vectors, after>(count, rows, weights, bias, result, addend);
    return;
  }
  // The last panel may be narrower: one vector after the other.
  for (int column = 0; column < columns; column += lanes) {
    tile_of<1, after>(count, rows, {panel + column, columns},
                      bias == nullptr ? nullptr : bias + column, moved(result, 0, column),
                      moved(addend, 0, column));
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

template <After after>
void multiply_rows(const Product& product, int begin, int end, int panel) {
  const int column = panel * panel_columns;
  const std::ptrdiff_t depth = std::ptrdiff_t{product.rows.segments} * product.rows.run;
  const float* weights = product.panels + column * depth;
  const int columns = columns_of(panel, product.columns);
  share_out(begin, end, [&](int first, int count) {
    Rows rows = product.rows;
    rows.first += first * rows.stride;
    const Grid result = moved(product.result, first, column);
    panel_of<after>(count, rows, weights, columns, product.bias + column, result, result);
  });
}

void multiply(const Product& product, int begin, int end, int panel) {
  switch (product.after) {
    case After::nothing:
      return multiply_rows<After::nothing>(product, begin, end, panel);
    case After::hard_swish:
      return multiply_rows<After::hard_swish>(product, begin, end, panel);
    case After::add:
      return multiply_rows<After::add>(product, begin, end, panel);
  }
}

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
      panel_of<After::add>(count, queries, keys + std::ptrdiff_t{column} * head.key_width,
                           columns_of(panel, wide), nullptr, {scores + column, wide},
                           moved(bias, 0, column));
    }
    float shares[tile_rows];
    for (int r = 0; r < count; ++r)
      shares[r] = exponentials(scores + std::ptrdiff_t{r} * wide, wide);
    const Rows weights{scores, wide, 1, 0, head.key_count};
    for (int column = 0; column < head.value_width; column += panel_columns) {
      const Grid result = moved(head.result, first, column);
      tile_of<tile_vectors, After::nothing>(count, weights, {head.values + column, head.key_stride},
                                            nullptr, result, result);
      for (int r = 0; r < count; ++r) {
        for (int v = 0; v < tile_vectors; ++v) {
          float* const at = result.first + r * result.stride + v * lanes;
          store(at, hard_swish(load(at) * broadcast(shares[r])));
        }
      }
    }
  });
}

constexpr Kernels kernels{LEVIT_KERNELS, panel_columns, tile_rows,
                          multiply,      attend,        attention_scratch};

}  // namespace
}  // namespace levit::native

// What the inner loops of a network are asked for. Each instruction set has its own of them,
// compiled from the same source (kernels_body.hpp).
#pragma once

#include <cstddef>

namespace levit::native {

// Columns of every matrix are padded to a multiple of this: the widest vector.
constexpr int column_multiple = 16;

constexpr int padded(int count) {
  return (count + column_multiple - 1) / column_multiple * column_multiple;
}

// Rows of floats. Row r begins at `first + r * stride` and is made of `segments` runs of `run`
// floats each, `segment_stride` apart; so the nine pixels that a 3x3 convolution reads are one row
// of three segments.
struct Rows {
  const float* first;
  std::ptrdiff_t stride;
  int segments;
  std::ptrdiff_t segment_stride;
  int run;
};

// A value of its own for every row and column.
struct Grid {
  float* first;
  std::ptrdiff_t stride;
};

enum class After { nothing, hard_swish, add };

// rows (M, K) times weights (K, N), plus a bias for each column, and what comes after. The weights
// are in panels of `Kernels::panel_columns` columns, the last of them narrower, each (K, columns).
struct Product {
  Rows rows;
  const float* panels;
  const float* bias;
  int columns;
  After after;
  Grid result;
};

// One head of one image: hard_swish(softmax(queries keysᵀ + bias) values). Queries are scaled
// already. The bias is (queries, padded(keys)), far below zero where there is no key.
struct AttentionHead {
  const float* queries;
  std::ptrdiff_t query_stride;
  const float* keys;
  const float* values;
  std::ptrdiff_t key_stride;
  int key_count;
  int key_width;
  int value_width;
  const float* bias;
  Grid result;
};

struct Kernels {
  const char* name;
  int panel_columns;
  int tile_rows;
  // Rows [begin, end) of panel number `panel`.
  void (*multiply)(const Product& product, int begin, int end, int panel);
  // Queries [begin, end); `scratch` has `attention_scratch` floats, aligned to 64 bytes.
  void (*attend)(const AttentionHead& head, int begin, int end, float* scratch);
  std::size_t (*attention_scratch)(int key_count, int key_width);
};

// Null where this program was built without them.
const Kernels* avx512_kernels();
const Kernels* avx2_kernels();
const Kernels* portable_kernels();

// The best that this CPU runs, or those called `name` where that is not empty; null where there are
// none.
const Kernels* find_kernels(const char* name);

}  // namespace levit::native

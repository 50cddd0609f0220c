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

// What is known of each column of a product. Products of bytes also have the step of their sums and
// what to take off them first.
struct Columns {
  const float* bias;
  const float* scales;
  const float* corrections;
};

// rows (M, K) times weights (K, N), plus a bias for each column, and what comes after. `prepared`
// is what `Products::prepare` made of the rows, `panels` what `Products::pack` made of the weights.
struct Product {
  Rows rows;
  const float* prepared;
  const float* panels;
  Columns of;
  int columns;
  After after;
  Grid result;
};

// How a value becomes a byte: as the nearest whole number to `value * steps + offset`.
struct Rounding {
  float steps;
  float offset;
};

// Products of one kind of numbers. Sizes are in floats, whatever lies there.
struct Products {
  int panel_columns;
  int row_multiple;  // the first of some rows to multiply has a number that is a multiple of this
  // Weights (outputs, depth) as panels of `panel_columns` columns, the last of them narrower;
  // `columns` is the padded number of outputs.
  std::size_t (*packed_floats)(int columns, int depth);
  void (*pack)(const float* weights, int outputs, int columns, int depth, float* panels);
  // Rows [begin, end) as `multiply` reads them; null where it reads the rows themselves. Begins at
  // a multiple of `row_multiple`, and `prepared` at a cache line.
  std::size_t (*prepared_floats)(int rows, int depth);
  void (*prepare)(const Rows& rows, const Rounding& rounding, int begin, int end, float* prepared);
  // Rows [begin, end) of panels [first_panel, end_panel).
  void (*multiply)(const Product& product, int begin, int end, int first_panel, int end_panel);
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
  int tile_rows;
  Products floats;
  Products deep_floats;  // the fastest ones where there are enough rows and depth
  // Rows are rounded to bytes, and weights are whole numbers from -64 to 64: no sum of two products
  // of them exceeds 16 bits.
  Products bytes;
  // Queries [begin, end); `scratch` has `attention_scratch` floats, aligned to 64 bytes.
  void (*attend)(const AttentionHead& head, int begin, int end, float* scratch);
  std::size_t (*attention_scratch)(int key_count, int key_width);
};

// Null where this program was built without them.
const Kernels* amx_kernels();
const Kernels* avx512_vnni_kernels();
const Kernels* avx512_kernels();
const Kernels* avx2_kernels();
const Kernels* portable_kernels();

// Names of kernels, the best first.
constexpr const char* instruction_sets[] = {"amx", "avx512-vnni", "avx512", "avx2", "portable"};

// The best that this CPU runs, or those called `name` where that is not empty; null where there are
// none.
const Kernels* find_kernels(const char* name);

}  // namespace levit::native

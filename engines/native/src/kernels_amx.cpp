#if defined(__AMX_TILE__) && defined(__AMX_INT8__) && defined(__AVX512VNNI__) && defined(__FMA__)
#define LEVIT_KERNELS "avx512"
#include "kernels_body.hpp"

// Products of bytes on the tiles of Intel's AMX. Those of floats are made of them: each row, and
// each column of the weights, is rounded to whole numbers of 24 bits, which are three bytes; of the
// nine products of two such numbers the six that count are summed, exactly, in 32 bits. What that
// loses is as small, measured against the largest number of a row, as what float32 loses. Source:
// Ootomo, Ozaki and Yokota, "DGEMM on integer matrix multiplication unit" (2024).
namespace levit::native {
namespace {

constexpr int tile_height = 16, tile_line = 64;  // rows of a tile; bytes of each
constexpr int tile_floats = tile_height * tile_line / static_cast<int>(sizeof(float));

inline int blocks_of(int count, int size) { return (count + size - 1) / size; }

// Numbers [k, k + width) of some rows, which may lie in several segments, to rows of `width`; zeros
// beyond their end.
inline void gather(const Rows& rows, int first, int count, int k, int width, float* to) {
  int segment = k / rows.run, place = k % rows.run;
  for (int done = 0; done < width; ++segment, place = 0) {
    const bool is_end = segment == rows.segments;
    const int left = is_end ? width : rows.run - place;
    const int taken = left < width - done ? left : width - done;
    for (int i = 0; i < taken; i += lanes) {
      const int wanted = taken - i < lanes ? taken - i : lanes;
      const auto written = static_cast<__mmask16>((1U << wanted) - 1);
      const __mmask16 read = is_end ? __mmask16{} : written;
      const float* from = rows.first + first * rows.stride + segment * rows.segment_stride + place;
      for (int row = 0; row < count; ++row) {
        const __m512 values = _mm512_maskz_loadu_ps(read, from + row * rows.stride + i);
        _mm512_mask_storeu_ps(to + row * width + done + i, written, values);
      }
    }
    done += taken;
  }
}

// Of a row, or of the weights of a column; not a number where one of them is none.
inline float largest_magnitude(const Rows& rows, int row) {
  __m512i most = _mm512_setzero_si512();
  for (int segment = 0; segment < rows.segments; ++segment) {
    const float* from = rows.first + row * rows.stride + segment * rows.segment_stride;
    for (int k = 0; k < rows.run; k += lanes) {
      const int left = rows.run - k;
      const auto read = static_cast<__mmask16>(left < lanes ? (1U << left) - 1 : 0xFFFFU);
      const auto bits = (__m512i)_mm512_abs_ps(_mm512_maskz_loadu_ps(read, from + k));
      most = _mm512_max_epu32(most, bits);  // as whole numbers they are in the same order
    }
  }
  const unsigned bits = _mm512_reduce_max_epu32(most);
  float magnitude;
  __builtin_memcpy(&magnitude, &bits, sizeof magnitude);
  return magnitude;
}

// Floats, as whole numbers of three bytes each: a tile of the largest ones, then those below them.
// Tiles 0 to 2 are sums of products of 32, 24 and 16 bits, 3 to 5 rows, 6 and 7 weights.
struct SplitFloats {
  static constexpr int depth = 64;  // numbers in a row of a tile
  static constexpr int parts = 3;
  static constexpr int row_tiles = 1;         // at most, in a block
  static constexpr int column_tiles = 1;      // at most, in a block
  static constexpr int sums = 3;              // tiles of them for each tile of results
  static constexpr int scales = tile_height;  // behind the tiles of 16 rows or columns
  static constexpr float largest_whole = 127 * 65536;
  static constexpr float smallest_magnitude = 1e-30F;

  template <int, int>
  static void add_block(const float* rows, std::ptrdiff_t, const float* weights) {
    _tile_loadd(3, rows, tile_line);
    _tile_loadd(4, rows + tile_floats, tile_line);
    _tile_loadd(5, rows + 2 * tile_floats, tile_line);
    _tile_loadd(6, weights, tile_line);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(1, 4, 6);
    _tile_dpbssd(0, 3, 6);
    _tile_loadd(7, weights + tile_floats, tile_line);
    _tile_dpbssd(2, 4, 7);
    _tile_dpbssd(1, 3, 7);
    _tile_loadd(6, weights + 2 * tile_floats, tile_line);
    _tile_dpbssd(2, 3, 6);
  }

  // Whole numbers of what size a row or column becomes, and one over that.
  static Rounding rounding_of(const Rows& rows, int row, const Rounding&, float* scale) {
    float magnitude = largest_magnitude(rows, row);
    if (magnitude < smallest_magnitude) magnitude = smallest_magnitude;
    *scale = magnitude / largest_whole;
    return {largest_whole / magnitude, 0};
  }

  // 64 bytes of each part, each word of them from 4 numbers that are 16 apart: it does not matter
  // which, as long as rows and weights agree. Adding half of what a byte holds makes the bytes
  // above it take over what it cannot hold with its sign.
  static void convert(const float* from, const Rounding& rounding, float* to) {
    const __m512i halves = _mm512_set1_epi32(0x8080), signs = _mm512_set1_epi8(-128);
    __m512i whole[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const Vector steps = load(from + i * lanes) * broadcast(rounding.steps);
      whole[i] = _mm512_add_epi32(_mm512_cvtps_epi32(__m512(steps)), halves);
    }
    const __m512i largest = words<16>(whole), middle = words<8>(whole), last = words<0>(whole);
    _mm512_storeu_si512(to, largest);
    _mm512_storeu_si512(to + tile_floats, _mm512_xor_si512(middle, signs));
    _mm512_storeu_si512(to + 2 * tile_floats, _mm512_xor_si512(last, signs));
  }

  // The bytes that begin at bit `from` of each of the four.
  template <int from>
  static __m512i words(const __m512i (&whole)[4]) {
    constexpr __mmask64 odd = 0xAAAAAAAAAAAAAAAA, upper = 0xCCCCCCCCCCCCCCCC;
    const __m512i low =
        _mm512_mask_mov_epi8(moved_to<from, 0>(whole[0]), odd, moved_to<from, 8>(whole[1]));
    const __m512i high =
        _mm512_mask_mov_epi8(moved_to<from, 16>(whole[2]), odd, moved_to<from, 24>(whole[3]));
    return _mm512_mask_mov_epi8(low, upper, high);
  }
  template <int from, int to>
  static __m512i moved_to(__m512i bits) {
    if constexpr (from < to) return _mm512_slli_epi32(bits, to - from);
    if constexpr (from > to) return _mm512_srli_epi32(bits, from - to);
    return bits;
  }
  static void convert_weights(const float* from, const Rounding& rounding, float* to) {
    convert(from, rounding, to);
  }

  static Vector value(const float* sums_, const Columns& of, float row_scale) {
    const Vector byte = broadcast(256);
    Vector total = whole_sums(sums_);
    total = multiply_add(total, byte, whole_sums(sums_ + tile_floats));
    total = multiply_add(total, byte, whole_sums(sums_ + 2 * tile_floats));
    return multiply_add(total, load(of.scales) * broadcast(65536 * row_scale), load(of.bias));
  }
  static Vector whole_sums(const float* from) {
    Integers whole;
    __builtin_memcpy(&whole, from, sizeof whole);
    return __builtin_convertvector(whole, Vector);
  }
};

// Tiles 0 to 3 are sums, 4 and 5 rows, 6 and 7 weights.
struct TileBytes {
  static constexpr int depth = 64;
  static constexpr int parts = 1;
  static constexpr int row_tiles = 2;
  static constexpr int column_tiles = 2;
  static constexpr int sums = 1;
  static constexpr int scales = 0;

  template <int row_tiles, int column_tiles>
  static void add_block(const float* rows, std::ptrdiff_t row_step, const float* weights) {
    _tile_loadd(4, rows, tile_line);
    if constexpr (row_tiles == 2) _tile_loadd(5, rows + row_step, tile_line);
    _tile_loadd(6, weights, tile_line);
    if constexpr (column_tiles == 2) _tile_loadd(7, weights + tile_floats, tile_line);
    _tile_dpbusd(0, 4, 6);
    if constexpr (column_tiles == 2) _tile_dpbusd(1, 4, 7);
    if constexpr (row_tiles == 2 && column_tiles == 1) _tile_dpbusd(1, 5, 6);
    if constexpr (row_tiles == 2 && column_tiles == 2) _tile_dpbusd(2, 5, 6);
    if constexpr (row_tiles == 2 && column_tiles == 2) _tile_dpbusd(3, 5, 7);
  }

  static Rounding rounding_of(const Rows&, int, const Rounding& rounding, float*) {
    return rounding;
  }

  static void convert(const float* from, const Rounding& rounding, float* to) {
    for (int k = 0; k < depth; k += lanes) {
      store_bytes(to + k / bytes_in_word, rounded(load(from + k), rounding));
    }
  }
  static void convert_weights(const float* from, const Rounding&, float* to) {
    for (int k = 0; k < depth; ++k) put_byte(to, 0, k, from[k]);
  }

  static Vector value(const float* sums_, const Columns& of, float) {
    Integers whole;
    __builtin_memcpy(&whole, sums_, sizeof whole);
    return Bytes::value(whole, of);
  }
};

template <class Numbers>
std::size_t packed_tiles(int columns, int depth) {
  const int tiles = blocks_of(depth, Numbers::depth) * Numbers::parts;
  return static_cast<std::size_t>(columns / tile_height) *
         static_cast<std::size_t>(tiles * tile_floats + Numbers::scales);
}

// Of the columns from `first` on, how many tiles are multiplied at the same time.
template <class Numbers>
int column_tiles_at(int first, int columns) {
  const int left = (columns - first) / tile_height;
  return left < Numbers::column_tiles ? left : Numbers::column_tiles;
}

// For tiles of columns that are multiplied at the same time, for every block of the depth the tiles
// of each part; then the scales of the columns.
// A row of a tile has the words of 16 columns: of numbers that are neighbours in depth.
template <class Numbers>
void pack_tiles(const float* weights, int outputs, int columns, int depth, float* panels) {
  const int blocks = blocks_of(depth, Numbers::depth);
  const Rows rows{weights, depth, 1, 0, depth};
  for (int first = 0; first < columns; first += Numbers::column_tiles * tile_height) {
    const int tiles = column_tiles_at<Numbers>(first, columns);
    const int block_floats = tiles * Numbers::parts * tile_floats;
    float* const scales = panels + std::ptrdiff_t{blocks} * block_floats;
    const int end = first + tiles * tile_height;
    for (int output = first; output < end && output < outputs; ++output) {
      const int column = output - first;
      const Rounding rounding = Numbers::rounding_of(rows, output, {}, scales + column);
      for (int block = 0; block < blocks; ++block) {
        float values[Numbers::depth]{};
        const int left = depth - block * Numbers::depth;
        const float* from = weights + std::ptrdiff_t{output} * depth + block * Numbers::depth;
        for (int k = 0; k < (left < Numbers::depth ? left : Numbers::depth); ++k) {
          values[k] = from[k];
        }
        float words[(Numbers::parts - 1) * tile_floats + tile_height];
        Numbers::convert_weights(values, rounding, words);
        for (int part = 0; part < Numbers::parts; ++part) {
          float* const to = panels + std::ptrdiff_t{block} * block_floats +
                            (part * tiles + column / tile_height) * tile_floats;
          for (int word = 0; word < tile_height; ++word) {
            __builtin_memcpy(to + word * tile_height + column % tile_height,
                             words + part * tile_floats + word, sizeof(float));
          }
        }
      }
    }
    panels = scales + tiles * Numbers::scales;
  }
}

template <class Numbers>
std::size_t prepared_tiles(int rows, int depth) {
  return static_cast<std::size_t>(blocks_of(rows, tile_height)) *
         packed_tiles<Numbers>(tile_height, depth);
}

// For every 16 rows, for every block of the depth, a tile of each part; then the scales of the
// rows.
template <class Numbers>
void prepare_tiles(const Rows& rows, const Rounding& rounding, int begin, int end,
                   float* prepared) {
  const int depth = rows.segments * rows.run, blocks = blocks_of(depth, Numbers::depth);
  const bool is_whole = rows.segments == 1 && depth % Numbers::depth == 0;
  float* to = prepared + prepared_tiles<Numbers>(begin, depth);
  for (int first = begin; first < end; first += tile_height) {
    const int count = end - first < tile_height ? end - first : tile_height;
    float* const scales = to + std::ptrdiff_t{blocks} * Numbers::parts * tile_floats;
    Rounding roundings[tile_height];
    for (int row = 0; row < count; ++row) {
      roundings[row] = Numbers::rounding_of(rows, first + row, rounding, scales + row);
    }
    for (int block = 0; block < blocks; ++block, to += Numbers::parts * tile_floats) {
      const int k = block * Numbers::depth;
      const float* from = rows.first + first * rows.stride + k;
      std::ptrdiff_t stride = rows.stride;
      float gathered[tile_height * Numbers::depth];
      if (!is_whole) {
        gather(rows, first, count, k, Numbers::depth, gathered);
        from = gathered;
        stride = Numbers::depth;
      }
      for (int row = 0; row < count; ++row) {
        Numbers::convert(from + row * stride, roundings[row], to + row * tile_height);
      }
    }
    to = scales + Numbers::scales;
  }
}

struct alignas(64) TileConfiguration {
  std::uint8_t palette = 1, start_row = 0, reserved[14]{};
  std::uint16_t line_bytes[16]{};
  std::uint8_t rows[16]{};

  constexpr TileConfiguration() {
    for (int tile = 0; tile < 8; ++tile) {
      line_bytes[tile] = tile_line;
      rows[tile] = tile_height;
    }
  }
};

constexpr TileConfiguration whole_tiles;

template <int count>
inline void load_sums(const float* sums) {
  _tile_loadd(0, sums, tile_line);
  if constexpr (count > 1) _tile_loadd(1, sums + tile_floats, tile_line);
  if constexpr (count > 2) _tile_loadd(2, sums + 2 * tile_floats, tile_line);
  if constexpr (count > 3) _tile_loadd(3, sums + 3 * tile_floats, tile_line);
  if constexpr (count > 4) _tile_loadd(4, sums + 4 * tile_floats, tile_line);
  if constexpr (count > 5) _tile_loadd(5, sums + 5 * tile_floats, tile_line);
}

template <int count>
inline void zero_sums() {
  _tile_zero(0);
  if constexpr (count > 1) _tile_zero(1);
  if constexpr (count > 2) _tile_zero(2);
  if constexpr (count > 3) _tile_zero(3);
  if constexpr (count > 4) _tile_zero(4);
  if constexpr (count > 5) _tile_zero(5);
}

template <int count>
inline void store_sums(float* sums) {
  _tile_stored(0, sums, tile_line);
  if constexpr (count > 1) _tile_stored(1, sums + tile_floats, tile_line);
  if constexpr (count > 2) _tile_stored(2, sums + 2 * tile_floats, tile_line);
  if constexpr (count > 3) _tile_stored(3, sums + 3 * tile_floats, tile_line);
  if constexpr (count > 4) _tile_stored(4, sums + 4 * tile_floats, tile_line);
  if constexpr (count > 5) _tile_stored(5, sums + 5 * tile_floats, tile_line);
}

// Results of at most `Numbers::row_tiles` tiles of rows, whose sums are complete. They are made a
// few rows at a time between the next products, as a CPU can do both at once.
template <class Numbers, int column_tiles, After after>
class Results {
 public:
  void begin(const float* sums, const float* row_scales, int rows, const Columns& of, Grid result) {
    sums_ = sums;
    row_scales_ = row_scales;
    rows_ = rows;
    made_ = 0;
    of_ = of;
    result_ = result;
  }

  int left() const { return rows_ - made_; }

  void make(int count) {
    const int end = count < left() ? made_ + count : rows_;
    for (; made_ < end; ++made_) make_row(made_);
  }

 private:
  void make_row(int row) const {
    const float row_scale = Numbers::scales == 0 ? 1 : row_scales_[row];
    const float* from = sums_ + row / tile_height * column_tiles * Numbers::sums * tile_floats +
                        row % tile_height * tile_height;
#pragma GCC unroll 2
    for (int tile = 0; tile < column_tiles; ++tile, from += Numbers::sums * tile_floats) {
      float* const to = result_.first + row * result_.stride + tile * tile_height;
      Vector value = Numbers::value(from, moved(of_, tile * tile_height), row_scale);
      if (after == After::hard_swish) value = hard_swish(value);
      if (after == After::add) value += load(to);
      store(to, value);
    }
  }

  const float* sums_ = nullptr;
  const float* row_scales_ = nullptr;
  int rows_ = 0, made_ = 0;
  Columns of_{};
  Grid result_{};
};

// Adds the products of some blocks of the depth to sums (16 * row_tiles, 16 * column_tiles), which
// are in tiles one after the other. The tiles of rows are `row_step` apart. Before it writes the
// sums it has made the results `before`.
template <class Numbers, int row_tiles, int column_tiles, After after>
void add_products(const float* rows, std::ptrdiff_t row_step, const float* weights, int blocks,
                  bool is_first, float* sums, Results<Numbers, column_tiles, after>& before) {
  constexpr int tiles_of_sums = row_tiles * column_tiles * Numbers::sums;
  if (is_first) {
    zero_sums<tiles_of_sums>();
  } else {
    load_sums<tiles_of_sums>(sums);
  }
  const int results = blocks_of(before.left(), blocks);
  for (int block = 0; block < blocks; ++block) {
    Numbers::template add_block<row_tiles, column_tiles>(rows, row_step, weights);
    rows += Numbers::parts * tile_floats;
    weights += Numbers::parts * column_tiles * tile_floats;
    before.make(results);
  }
  store_sums<tiles_of_sums>(sums);
}

// Rows that share `chunk_tiles` tiles of weights while those are in the first cache.
constexpr int rows_at_once = 256;
constexpr int chunk_tiles = 36;

// Rows [begin, end) of columns [first, end_column), which are whole tiles, `column_tiles` at a
// time.
template <class Numbers, int column_tiles, After after>
void multiply_columns(const Product& product, int begin, int end, int first, int end_column) {
  constexpr int block_rows = Numbers::row_tiles * tile_height;
  constexpr int block_columns = column_tiles * tile_height;
  constexpr int tiles_of_block = Numbers::parts * column_tiles;
  constexpr int block_sums = Numbers::row_tiles * column_tiles * Numbers::sums * tile_floats;
  const int depth = product.rows.segments * product.rows.run;
  const int blocks = blocks_of(depth, Numbers::depth);
  const std::ptrdiff_t blocks_floats = std::ptrdiff_t{blocks} * Numbers::parts * tile_floats;
  const std::ptrdiff_t row_step = blocks_floats + Numbers::scales;
  alignas(64) float sums[rows_at_once / block_rows * block_sums];
  Results<Numbers, column_tiles, after> results;
  const auto multiply_some = [&](int first_row, int end_row, int column) {
    const float* const weights = product.panels + packed_tiles<Numbers>(column, depth);
    Columns of = moved(product.of, column);
    if (Numbers::scales != 0) of.scales = weights + column_tiles * blocks_floats;
    const int chunks =
        end_row - first_row <= block_rows ? 1 : blocks_of(blocks * tiles_of_block, chunk_tiles);
    for (int chunk = 0; chunk < chunks; ++chunk) {
      const int first_block = blocks * chunk / chunks;
      const int count = blocks * (chunk + 1) / chunks - first_block;
      const float* const from = weights + first_block * tiles_of_block * tile_floats;
      for (int row = first_row; row < end_row; row += block_rows) {
        float* const to = chunks == 1 ? sums : sums + (row - first_row) / block_rows * block_sums;
        const float* group = product.prepared + row / tile_height * row_step;
        const float* rows = group + first_block * Numbers::parts * tile_floats;
        const int left = end_row - row < block_rows ? end_row - row : block_rows;
        if (left > block_rows - tile_height) {
          add_products<Numbers, Numbers::row_tiles>(rows, row_step, from, count, chunk == 0, to,
                                                    results);
        } else {
          add_products<Numbers, 1>(rows, row_step, from, count, chunk == 0, to, results);
        }
        if (chunk + 1 == chunks) {
          results.begin(to, group + blocks_floats, left, of, moved(product.result, row, column));
        }
      }
    }
  };
  for (int column = first; column < end_column; column += block_columns) {
    for (int row = begin; row < end; row += rows_at_once) {
      multiply_some(row, end - row < rows_at_once ? end : row + rows_at_once, column);
    }
  }
  results.make(block_rows);
}

template <class Numbers, After after>
void multiply_tiles_and(const Product& product, int begin, int end, int first, int end_column) {
  constexpr int block_columns = Numbers::column_tiles * tile_height;
  const int whole = first + (end_column - first) / block_columns * block_columns;
  multiply_columns<Numbers, Numbers::column_tiles, after>(product, begin, end, first, whole);
  if constexpr (Numbers::column_tiles > 1) {
    multiply_columns<Numbers, 1, after>(product, begin, end, whole, end_column);
  }
}

template <class Numbers>
void multiply_tiles(const Product& product, int begin, int end, int first_panel, int end_panel) {
  const int first = first_panel * panel_columns;
  const int last = (end_panel - 1) * panel_columns + columns_of(end_panel - 1, product.columns);
  _tile_loadconfig(&whole_tiles);
  switch (product.after) {
    case After::nothing:
      multiply_tiles_and<Numbers, After::nothing>(product, begin, end, first, last);
      break;
    case After::hard_swish:
      multiply_tiles_and<Numbers, After::hard_swish>(product, begin, end, first, last);
      break;
    case After::add:
      multiply_tiles_and<Numbers, After::add>(product, begin, end, first, last);
      break;
  }
  _tile_release();
}

template <class Numbers>
constexpr Products tile_products{panel_columns,           Numbers::row_tiles * tile_height,
                                 packed_tiles<Numbers>,   pack_tiles<Numbers>,
                                 prepared_tiles<Numbers>, prepare_tiles<Numbers>,
                                 multiply_tiles<Numbers>};

constexpr Kernels kernels{"amx",
                          vector_kernels.tile_rows,
                          vector_kernels.floats,
                          tile_products<SplitFloats>,
                          tile_products<TileBytes>,
                          vector_kernels.attend,
                          vector_kernels.attention_scratch};

}  // namespace
}  // namespace levit::native

const levit::native::Kernels* levit::native::amx_kernels() { return &kernels; }
#else
#include "kernels.hpp"
const levit::native::Kernels* levit::native::amx_kernels() { return nullptr; }
#endif

#if defined(__AMX_TILE__) && defined(__AMX_BF16__) && defined(__AMX_INT8__) && \
    defined(__AVX512BF16__) && defined(__AVX512VNNI__) && defined(__FMA__)
#define LEVIT_KERNELS "avx512"
#include "kernels_body.hpp"

// Products on the tiles of Intel's AMX, which has them of bytes and of bfloat16s. Those of
// bfloat16s are as exact as float32 here: a float is the sum of two bfloat16s but for 2^-18 of it,
// and of the four products of two such sums only that of both small parts is left out, which is as
// small. They are summed in float32.
namespace levit::native {
namespace {

constexpr int tile_height = 16, tile_line = 64;  // rows of a tile; bytes of each
constexpr int tile_floats = tile_height * tile_line / static_cast<int>(sizeof(float));
constexpr int block_rows = 2 * tile_height;

inline int blocks_of(int count, int size) { return (count + size - 1) / size; }

inline __m512 widened(__m256i halves) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

// Takes the nearest bfloat16s off 32 floats.
inline __m512i take_bfloat16s(__m512& first, __m512& second) {
  const auto taken = (__m512i)_mm512_cvtne2ps_pbh(second, first);
  first -= widened(_mm512_castsi512_si256(taken));
  second -= widened(_mm512_extracti64x4_epi64(taken, 1));
  return taken;
}

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

// Tiles 0 to 3 are sums, 4 and 5 rows, 6 and 7 weights.
template <int row_tiles>
inline void load_rows(const float* tiles, std::ptrdiff_t step) {
  _tile_loadd(4, tiles, tile_line);
  if constexpr (row_tiles == 2) _tile_loadd(5, tiles + step, tile_line);
}

template <int column_tiles>
inline void load_weights(const float* tiles) {
  _tile_loadd(6, tiles, tile_line);
  if constexpr (column_tiles == 2) _tile_loadd(7, tiles + tile_floats, tile_line);
}

// Floats, as three bfloat16s each: a tile of the largest parts, then those of what they leave.
struct SplitFloats {
  static constexpr int depth = 32;  // numbers in a row of a tile
  static constexpr int parts = 3;

  template <int row_tiles, int column_tiles>
  static void multiply() {
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (column_tiles == 2) _tile_dpbf16ps(1, 4, 7);
    if constexpr (row_tiles == 2) _tile_dpbf16ps(2, 5, 6);
    if constexpr (row_tiles == 2 && column_tiles == 2) _tile_dpbf16ps(3, 5, 7);
  }

  template <int row_tiles, int column_tiles>
  static void add_block(const float* rows, std::ptrdiff_t row_step, const float* weights) {
    constexpr int weight_step = column_tiles * tile_floats;
    load_rows<row_tiles>(rows + 2 * tile_floats, row_step);
    load_weights<column_tiles>(weights);
    multiply<row_tiles, column_tiles>();
    load_rows<row_tiles>(rows + tile_floats, row_step);
    multiply<row_tiles, column_tiles>();
    load_weights<column_tiles>(weights + weight_step);
    multiply<row_tiles, column_tiles>();
    load_rows<row_tiles>(rows, row_step);
    multiply<row_tiles, column_tiles>();
    load_weights<column_tiles>(weights + 2 * weight_step);
    multiply<row_tiles, column_tiles>();
    load_weights<column_tiles>(weights);
    multiply<row_tiles, column_tiles>();
  }

  // 64 bytes of each part, from as many numbers as fit into a row of a tile.
  static void convert(const float* from, const Rounding&, float* to) {
    __m512 first = _mm512_loadu_ps(from), second = _mm512_loadu_ps(from + lanes);
    for (int part = 0; part < parts; ++part) {
      _mm512_storeu_si512(to + part * tile_floats, take_bfloat16s(first, second));
    }
  }
  static void convert_weights(const float* from, float* to) { convert(from, {}, to); }

  static Vector value(const float* sums, const Columns& of) { return load(sums) + load(of.bias); }
};

struct TileBytes {
  static constexpr int depth = 64;
  static constexpr int parts = 1;

  template <int row_tiles, int column_tiles>
  static void add_block(const float* rows, std::ptrdiff_t row_step, const float* weights) {
    load_rows<row_tiles>(rows, row_step);
    load_weights<column_tiles>(weights);
    _tile_dpbusd(0, 4, 6);
    if constexpr (column_tiles == 2) _tile_dpbusd(1, 4, 7);
    if constexpr (row_tiles == 2) _tile_dpbusd(2, 5, 6);
    if constexpr (row_tiles == 2 && column_tiles == 2) _tile_dpbusd(3, 5, 7);
  }

  static void convert(const float* from, const Rounding& rounding, float* to) {
    for (int k = 0; k < depth; k += lanes) {
      store_bytes(to + k / bytes_in_word, rounded(load(from + k), rounding));
    }
  }
  static void convert_weights(const float* from, float* to) {
    for (int k = 0; k < depth; ++k) put_byte(to, 0, k, from[k]);
  }

  static Vector value(const float* sums, const Columns& of) {
    Integers whole;
    __builtin_memcpy(&whole, sums, sizeof whole);
    return Bytes::value(whole, of);
  }
};

template <class Numbers>
std::size_t packed_tiles(int columns, int depth) {
  return static_cast<std::size_t>(columns / tile_height) *
         static_cast<std::size_t>(blocks_of(depth, Numbers::depth) * Numbers::parts * tile_floats);
}

// For every block of the depth the tiles of a panel, part by part. A row of a tile has the words of
// 16 columns: of numbers that are neighbours in depth.
template <class Numbers>
void pack_tiles(const float* weights, int outputs, int columns, int depth, float* panels) {
  const int blocks = blocks_of(depth, Numbers::depth);
  for (int panel = 0; panel * panel_columns < columns; ++panel) {
    const int tiles = columns_of(panel, columns) / tile_height;
    for (int block = 0; block < blocks; ++block, panels += tiles * Numbers::parts * tile_floats) {
      for (int column = 0; column < tiles * tile_height; ++column) {
        const int output = panel * panel_columns + column;
        if (output >= outputs) continue;
        float values[Numbers::depth]{};
        const int left = depth - block * Numbers::depth;
        const float* from = weights + std::ptrdiff_t{output} * depth + block * Numbers::depth;
        for (int k = 0; k < (left < Numbers::depth ? left : Numbers::depth); ++k) {
          values[k] = from[k];
        }
        float words[(Numbers::parts - 1) * tile_floats + tile_height];
        Numbers::convert_weights(values, words);
        for (int part = 0; part < Numbers::parts; ++part) {
          float* const to = panels + (part * tiles + column / tile_height) * tile_floats;
          for (int word = 0; word < tile_height; ++word) {
            __builtin_memcpy(to + word * tile_height + column % tile_height,
                             words + part * tile_floats + word, sizeof(float));
          }
        }
      }
    }
  }
}

template <class Numbers>
std::size_t prepared_tiles(int rows, int depth) {
  return static_cast<std::size_t>(blocks_of(rows, tile_height)) *
         packed_tiles<Numbers>(tile_height, depth);
}

// For every 16 rows, for every block of the depth, a tile of each part.
template <class Numbers>
void prepare_tiles(const Rows& rows, const Rounding& rounding, int begin, int end,
                   float* prepared) {
  const int depth = rows.segments * rows.run, blocks = blocks_of(depth, Numbers::depth);
  const bool is_whole = rows.segments == 1 && depth % Numbers::depth == 0;
  float* to = prepared + prepared_tiles<Numbers>(begin, depth);
  for (int first = begin; first < end; first += tile_height) {
    const int count = end - first < tile_height ? end - first : tile_height;
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
        Numbers::convert(from + row * stride, rounding, to + row * tile_height);
      }
    }
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

template <int row_tiles, int column_tiles>
inline void load_sums(const float* sums) {
  _tile_loadd(0, sums, tile_line);
  if constexpr (column_tiles == 2) _tile_loadd(1, sums + tile_floats, tile_line);
  if constexpr (row_tiles == 2) _tile_loadd(2, sums + column_tiles * tile_floats, tile_line);
  if constexpr (row_tiles == 2 && column_tiles == 2)
    _tile_loadd(3, sums + 3 * tile_floats, tile_line);
}

template <int row_tiles, int column_tiles>
inline void store_sums(float* sums) {
  _tile_stored(0, sums, tile_line);
  if constexpr (column_tiles == 2) _tile_stored(1, sums + tile_floats, tile_line);
  if constexpr (row_tiles == 2) _tile_stored(2, sums + column_tiles * tile_floats, tile_line);
  if constexpr (row_tiles == 2 && column_tiles == 2)
    _tile_stored(3, sums + 3 * tile_floats, tile_line);
}

// Adds the products of some blocks of the depth to sums (16 * row_tiles, 16 * column_tiles), which
// are in tiles one after the other. The tiles of rows are `row_step` apart.
template <class Numbers, int row_tiles, int column_tiles>
void add_products(const float* rows, std::ptrdiff_t row_step, const float* weights, int blocks,
                  bool is_first, float* sums) {
  if (is_first) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  } else {
    load_sums<row_tiles, column_tiles>(sums);
  }
  for (int block = 0; block < blocks; ++block) {
    Numbers::template add_block<row_tiles, column_tiles>(rows, row_step, weights);
    rows += Numbers::parts * tile_floats;
    weights += Numbers::parts * column_tiles * tile_floats;
  }
  store_sums<row_tiles, column_tiles>(sums);
}

template <class Numbers, int column_tiles, After after>
void finish(const float* sums, int rows, const Columns& of, Grid result) {
  for (int row = 0; row < rows; ++row) {
    const float* from =
        sums + row / tile_height * column_tiles * tile_floats + row % tile_height * tile_height;
#pragma GCC unroll 2
    for (int tile = 0; tile < column_tiles; ++tile) {
      float* const to = result.first + row * result.stride + tile * tile_height;
      Vector value = Numbers::value(from + tile * tile_floats, moved(of, tile * tile_height));
      if (after == After::hard_swish) value = hard_swish(value);
      if (after == After::add) value += load(to);
      store(to, value);
    }
  }
}

template <class Numbers, int column_tiles>
void finish_and(After after, const float* sums, int rows, const Columns& of, Grid result) {
  switch (after) {
    case After::nothing:
      return finish<Numbers, column_tiles, After::nothing>(sums, rows, of, result);
    case After::hard_swish:
      return finish<Numbers, column_tiles, After::hard_swish>(sums, rows, of, result);
    case After::add:
      return finish<Numbers, column_tiles, After::add>(sums, rows, of, result);
  }
}

// Rows that share `chunk_tiles` tiles of weights while those are in the first cache.
constexpr int rows_at_once = 8 * block_rows;
constexpr int chunk_tiles = 32;

template <class Numbers, int column_tiles>
void multiply_panel(const Product& product, int begin, int end, int column) {
  const int depth = product.rows.segments * product.rows.run;
  const int blocks = blocks_of(depth, Numbers::depth);
  const std::ptrdiff_t row_step = std::ptrdiff_t{blocks} * Numbers::parts * tile_floats;
  const float* const weights = product.panels + packed_tiles<Numbers>(column, depth);
  constexpr int tiles_of_block = Numbers::parts * column_tiles;
  const int chunk = end - begin <= block_rows ? blocks : chunk_tiles / tiles_of_block;
  alignas(64) float sums[rows_at_once / tile_height * column_tiles * tile_floats];
  for (int first_block = 0; first_block < blocks; first_block += chunk) {
    const int left_blocks = blocks - first_block;
    const int count = left_blocks < chunk ? left_blocks : chunk;
    float* to = sums;
    for (int first = begin; first < end;
         first += block_rows, to += 2 * column_tiles * tile_floats) {
      const float* rows = product.prepared + first / tile_height * row_step +
                          first_block * Numbers::parts * tile_floats;
      const float* const from = weights + first_block * tiles_of_block * tile_floats;
      const int left = end - first;
      if (left > tile_height) {
        add_products<Numbers, 2, column_tiles>(rows, row_step, from, count, first_block == 0, to);
      } else {
        add_products<Numbers, 1, column_tiles>(rows, row_step, from, count, first_block == 0, to);
      }
      if (count == left_blocks) {
        finish_and<Numbers, column_tiles>(product.after, to, left < block_rows ? left : block_rows,
                                          moved(product.of, column),
                                          moved(product.result, first, column));
      }
    }
  }
}

template <class Numbers, int column_tiles>
void multiply_rows_of_panel(const Product& product, int begin, int end, int column) {
  for (int first = begin; first < end; first += rows_at_once) {
    multiply_panel<Numbers, column_tiles>(
        product, first, end - first < rows_at_once ? end : first + rows_at_once, column);
  }
}

template <class Numbers>
void multiply_tiles(const Product& product, int begin, int end, int panel) {
  const int column = panel * panel_columns;
  _tile_loadconfig(&whole_tiles);
  if (columns_of(panel, product.columns) == panel_columns) {
    multiply_rows_of_panel<Numbers, 2>(product, begin, end, column);
  } else {
    multiply_rows_of_panel<Numbers, 1>(product, begin, end, column);
  }
  _tile_release();
}

template <class Numbers>
constexpr Products tile_products{panel_columns,           block_rows,
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

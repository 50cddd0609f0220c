#include "layers.hpp"

#include <algorithm>

namespace levit::native {
namespace {

constexpr float no_key = -1e30F;
constexpr int pieces_for_each_thread = 6;
constexpr int own_tiles = 4;
constexpr std::size_t cached_floats = 1 << 17;

std::size_t product_of(int a, int b) {
  return static_cast<std::size_t>(a) * static_cast<std::size_t>(b);
}

}  // namespace

const float* Parameters::next(std::size_t size) {
  if (taken_ == count_)
    throw ConfigurationError("there are only " + std::to_string(count_) + " parameters");
  const levit_native_parameter& parameter = parameters_[taken_++];
  if (parameter.values == nullptr || parameter.count != size) {
    throw ConfigurationError("parameter " + std::to_string(taken_ - 1) + " has " +
                             std::to_string(parameter.count) + " values, not " +
                             std::to_string(size));
  }
  return parameter.values;
}

void Parameters::require_end() const {
  if (taken_ != count_) {
    throw ConfigurationError("there are " + std::to_string(count_) + " parameters, not " +
                             std::to_string(taken_));
  }
}

Linear::Linear(const Kernels& kernels, Arena& arena, int outputs, int depth, const float* weights,
               const float* biases)
    : outputs_(outputs),
      columns_(padded(outputs)),
      depth_(depth),
      panels_((columns_ + kernels.panel_columns - 1) / kernels.panel_columns) {
  float* const own_biases = arena.take(static_cast<std::size_t>(columns_));
  std::copy_n(biases, outputs, own_biases);
  float* const panels = arena.take(product_of(columns_, depth));
  for (int first = 0; first < columns_; first += kernels.panel_columns) {
    const int columns = std::min(kernels.panel_columns, columns_ - first);
    float* const panel = panels + product_of(first, depth);
    for (int column = 0; column < std::min(columns, outputs - first); ++column) {
      const float* from = weights + product_of(first + column, depth);
      for (int k = 0; k < depth; ++k) {
        panel[product_of(k, columns) + static_cast<std::size_t>(column)] = from[k];
      }
    }
  }
  weights_ = panels;
  biases_ = own_biases;
}

Product Linear::product(const Rows& rows, After after, Grid result) const {
  return {rows, weights_, biases_, columns_, after, result};
}

Linear make_convolution(const Kernels& kernels, Arena& arena, int outputs, int inputs,
                        int pixel_width, Parameters& parameters) {
  constexpr int side = 3;
  const float* weights = parameters.next(product_of(outputs, inputs) * side * side);
  const float* biases = parameters.next(static_cast<std::size_t>(outputs));
  const int depth = side * side * pixel_width;
  // From (outputs, inputs, y, x) to (outputs, y, x, pixel).
  std::vector<float> rows(product_of(outputs, depth));
  for (int output = 0; output < outputs; ++output) {
    for (int input = 0; input < inputs; ++input) {
      const float* from =
          weights + (product_of(output, inputs) + static_cast<std::size_t>(input)) * side * side;
      float* to = rows.data() + product_of(output, depth) + input;
      for (int tap = 0; tap < side * side; ++tap) to[product_of(tap, pixel_width)] = from[tap];
    }
  }
  return Linear(kernels, arena, outputs, depth, rows.data(), biases);
}

Linear make_linear(const Kernels& kernels, Arena& arena, int outputs, int inputs,
                   Parameters& parameters) {
  const float* weights = parameters.next(product_of(outputs, inputs));
  const float* biases = parameters.next(static_cast<std::size_t>(outputs));
  return Linear(kernels, arena, outputs, inputs, weights, biases);
}

const float* make_attention_bias(Arena& arena, int heads, int queries, int keys,
                                 Parameters& parameters) {
  const int rows = heads * queries, wide = padded(keys);
  const float* from = parameters.next(product_of(rows, keys));
  float* const bias = arena.take(product_of(rows, wide));
  for (int row = 0; row < rows; ++row) {
    float* to = std::copy_n(from + product_of(row, keys), keys, bias + product_of(row, wide));
    std::fill_n(to, wide - keys, no_key);
  }
  return bias;
}

void multiply(WorkerPool& pool, const Kernels& kernels, const Linear& layer, const Rows& rows,
              int count, After after, Grid result) {
  const Product product = layer.product(rows, after, result);
  // A group of rows stays in the second cache while panel after panel of weights passes by; and
  // panels alone may be too few to share.
  int groups = static_cast<int>(product_of(count, layer.depth()) / cached_floats) + 1;
  if (pool.threads() > 1) {
    // Where every thread has rows of its own, what one layer wrote is in its cache for the next.
    if (count >= own_tiles * kernels.tile_rows * pool.threads())
      groups = (groups + pool.threads() - 1) / pool.threads() * pool.threads();
    while (layer.panels() * groups < pieces_for_each_thread * pool.threads() &&
           count / (groups + 1) >= 2 * kernels.tile_rows) {
      ++groups;
    }
  }
  pool.run(layer.panels() * groups, [&](int piece, int) {
    const int group = piece / layer.panels();
    kernels.multiply(product, count * group / groups, count * (group + 1) / groups,
                     piece % layer.panels());
  });
}

}  // namespace levit::native

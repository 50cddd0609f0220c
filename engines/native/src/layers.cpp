#include "layers.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace levit::native {
namespace {

constexpr float no_key = -1e30F;
constexpr int pieces_for_each_thread = 4;
constexpr int own_tiles = 4;
constexpr std::size_t cached_floats = 1 << 17;
constexpr int prepared_rows = 16;
constexpr int enough_rows = 16, enough_depth = 128;  // for deep_floats
constexpr float largest_byte = 64;

std::size_t product_of(int a, int b) {
  return static_cast<std::size_t>(a) * static_cast<std::size_t>(b);
}

void require_bytes(const levit_native_parameter& weights, int outputs) {
  const auto is_whole = [](float value) {
    return std::abs(value) <= largest_byte && std::trunc(value) == value;
  };
  if (!std::all_of(weights.values, weights.values + weights.count, is_whole))
    throw ConfigurationError("quantised weights are not whole numbers from -64 to 64");
  const auto is_scale = [](float scale) { return std::isnormal(scale) && scale > 0; };
  if (!std::all_of(weights.scales, weights.scales + outputs, is_scale) ||
      !is_scale(weights.input_scale)) {
    throw ConfigurationError("a scale is not a number above 0");
  }
  if (weights.input_offset < 0 || weights.input_offset > 255)
    throw ConfigurationError("an offset of bytes is not from 0 to 255");
}

}  // namespace

levit_native_parameter Parameters::next_weights(std::size_t size) {
  if (taken_ == count_)
    throw ConfigurationError("there are only " + std::to_string(count_) + " parameters");
  const levit_native_parameter parameter = give_(taken_++);
  if (parameter.values == nullptr || parameter.count != size) {
    throw ConfigurationError("parameter " + std::to_string(taken_ - 1) + " has " +
                             std::to_string(parameter.count) + " values, not " +
                             std::to_string(size));
  }
  return parameter;
}

const float* Parameters::next(std::size_t size) {
  const levit_native_parameter parameter = next_weights(size);
  if (parameter.scales != nullptr) {
    throw ConfigurationError("parameter " + std::to_string(taken_ - 1) + " cannot be quantised");
  }
  return parameter.values;
}

void Parameters::require_end() const {
  if (taken_ != count_) {
    throw ConfigurationError("there are " + std::to_string(count_) + " parameters, not " +
                             std::to_string(taken_));
  }
}

Linear::Linear(const Kernels& kernels, Arena& arena, int rows, int outputs, int depth,
               const levit_native_parameter& weights, const float* biases)
    : outputs_(outputs),
      columns_(padded(outputs)),
      depth_(depth),
      products_(weights.scales != nullptr                      ? &kernels.bytes
                : rows >= enough_rows && depth >= enough_depth ? &kernels.deep_floats
                                                               : &kernels.floats) {
  panels_ = (columns_ + products_->panel_columns - 1) / products_->panel_columns;
  const auto columns = static_cast<std::size_t>(columns_);
  float* const own_biases = arena.take(columns);
  std::copy_n(biases, outputs, own_biases);
  of_.bias = own_biases;
  if (weights.scales != nullptr) {
    require_bytes(weights, outputs);
    const float step = weights.input_scale;
    const auto offset = static_cast<float>(weights.input_offset);
    rounding_ = {1 / step, offset};
    float* const scales = arena.take(columns);
    float* const corrections = arena.take(columns);
    for (int output = 0; output < outputs; ++output) {
      const float* from = weights.values + product_of(output, depth);
      scales[output] = weights.scales[output] * step;
      corrections[output] = offset * std::accumulate(from, from + depth, 0.0F);
    }
    of_.scales = scales;
    of_.corrections = corrections;
  }
  float* const panels = arena.take(products_->packed_floats(columns_, depth));
  products_->pack(weights.values, outputs, columns_, depth, panels);
  weights_ = panels;
}

std::size_t Linear::prepared_floats(int rows) const {
  return products_->prepare == nullptr ? 0 : products_->prepared_floats(rows, depth_);
}

Product Linear::product(const Rows& rows, const float* prepared, After after, Grid result) const {
  return {rows, prepared, weights_, of_, columns_, after, result};
}

Linear make_convolution(const Kernels& kernels, Arena& arena, int rows, int outputs, int inputs,
                        int pixel_width, Parameters& parameters) {
  constexpr int side = 3;
  const float* weights = parameters.next(product_of(outputs, inputs) * side * side);
  const float* biases = parameters.next(static_cast<std::size_t>(outputs));
  const int depth = side * side * pixel_width;
  // From (outputs, inputs, y, x) to (outputs, y, x, pixel).
  std::vector<float> pixels_first(product_of(outputs, depth));
  for (int output = 0; output < outputs; ++output) {
    for (int input = 0; input < inputs; ++input) {
      const float* from =
          weights + (product_of(output, inputs) + static_cast<std::size_t>(input)) * side * side;
      float* to = pixels_first.data() + product_of(output, depth) + input;
      for (int tap = 0; tap < side * side; ++tap) to[product_of(tap, pixel_width)] = from[tap];
    }
  }
  return Linear(kernels, arena, rows, outputs, depth,
                {pixels_first.data(), pixels_first.size(), nullptr, 0, 0}, biases);
}

Linear make_linear(const Kernels& kernels, Arena& arena, int rows, int outputs, int inputs,
                   Parameters& parameters) {
  const levit_native_parameter weights = parameters.next_weights(product_of(outputs, inputs));
  const float* biases = parameters.next(static_cast<std::size_t>(outputs));
  return Linear(kernels, arena, rows, outputs, inputs, weights, biases);
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
              int count, After after, Grid result, float* prepared) {
  const Products& products = layer.products();
  if (products.prepare != nullptr) {
    const int parts = (count + prepared_rows - 1) / prepared_rows;
    pool.run(parts, [&](int part, int) {
      products.prepare(rows, layer.rounding(), part * prepared_rows,
                       std::min(count, (part + 1) * prepared_rows), prepared);
    });
  }
  const Product product = layer.product(rows, prepared, after, result);
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
  const int ranges =
      std::min(layer.panels(), std::max(1, pieces_for_each_thread * pool.threads() / groups));
  const int steps = (count + products.row_multiple - 1) / products.row_multiple;
  pool.run(ranges * groups, [&](int piece, int) {
    const int group = piece / ranges, range = piece % ranges;
    const int begin = steps * group / groups * products.row_multiple;
    const int end = std::min(count, steps * (group + 1) / groups * products.row_multiple);
    products.multiply(product, begin, end, layer.panels() * range / ranges,
                      layer.panels() * (range + 1) / ranges);
  });
}

}  // namespace levit::native

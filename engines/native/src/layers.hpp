// The layers of a fused LeViT, their parameters laid out for the kernels.
#pragma once

#include <cstddef>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "arena.hpp"
#include "kernels.hpp"
#include "levit/native.h"
#include "worker_pool.hpp"

namespace levit::native {

// What was given is no LeViT that can be computed here.
class ConfigurationError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Hands the parameters out in their order, each checked for its size.
class Parameters {
 public:
  // Gives parameter `index`. What it points to must last until the next but one is asked for.
  using Give = std::function<levit_native_parameter(std::size_t index)>;

  Parameters(Give give, std::size_t count) : give_(std::move(give)), count_(count) {}

  // Numbers that are as they are.
  const float* next(std::size_t size);
  // Weights, which may be quantised.
  levit_native_parameter next_weights(std::size_t size);
  void require_end() const;

 private:
  Give give_;
  std::size_t count_;
  std::size_t taken_ = 0;
};

// Weights (outputs, depth) as panels, and what is known of each column, in the arena. `columns` is
// the padded number of outputs; what is added has weights and biases of zero.
class Linear {
 public:
  Linear() = default;
  // `rows` are those of one image. What a layer computes does not depend on the batch, so neither
  // does the choice between kernels.
  Linear(const Kernels& kernels, Arena& arena, int rows, int outputs, int depth,
         const levit_native_parameter& weights, const float* biases);

  int outputs() const { return outputs_; }
  int columns() const { return columns_; }
  int depth() const { return depth_; }
  int panels() const { return panels_; }
  const Products& products() const { return *products_; }
  const Rounding& rounding() const { return rounding_; }
  // Of that many rows; 0 where they are multiplied as they are.
  std::size_t prepared_floats(int rows) const;

  Product product(const Rows& rows, const float* prepared, After after, Grid result) const;

 private:
  int outputs_ = 0, columns_ = 0, depth_ = 0, panels_ = 0;
  const Products* products_ = nullptr;
  Rounding rounding_{};
  const float* weights_ = nullptr;
  Columns of_{};
};

// A 3x3 convolution that halves the image, on pixels of `pixel_width` floats, of which `inputs`
// count.
Linear make_convolution(const Kernels& kernels, Arena& arena, int rows, int outputs, int inputs,
                        int pixel_width, Parameters& parameters);

Linear make_linear(const Kernels& kernels, Arena& arena, int rows, int outputs, int inputs,
                   Parameters& parameters);

// (heads, queries, keys) with rows of padded(keys).
const float* make_attention_bias(Arena& arena, int heads, int queries, int keys,
                                 Parameters& parameters);

// rows (count, depth) -> result (count, columns). `prepared` has room for what the layer needs.
void multiply(WorkerPool& pool, const Kernels& kernels, const Linear& layer, const Rows& rows,
              int count, After after, Grid result, float* prepared);

}  // namespace levit::native

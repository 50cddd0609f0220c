// The layers of a fused LeViT, their parameters laid out for the kernels.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
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
  Parameters(const levit_native_parameter* parameters, std::size_t count)
      : parameters_(parameters), count_(count) {}

  const float* next(std::size_t size);
  void require_end() const;

 private:
  const levit_native_parameter* parameters_;
  std::size_t count_;
  std::size_t taken_ = 0;
};

// Weights (outputs, depth) as panels, and biases, both in the arena. `columns` is the padded number
// of outputs; what is added has weights and biases of zero.
class Linear {
 public:
  Linear() = default;
  Linear(const Kernels& kernels, Arena& arena, int outputs, int depth, const float* weights,
         const float* biases);

  int outputs() const { return outputs_; }
  int columns() const { return columns_; }
  int depth() const { return depth_; }
  int panels() const { return panels_; }

  Product product(const Rows& rows, After after, Grid result) const;

 private:
  int outputs_ = 0, columns_ = 0, depth_ = 0, panels_ = 0;
  const float* weights_ = nullptr;
  const float* biases_ = nullptr;
};

// A 3x3 convolution that halves the image, on pixels of `pixel_width` floats, of which `inputs`
// count.
Linear make_convolution(const Kernels& kernels, Arena& arena, int outputs, int inputs,
                        int pixel_width, Parameters& parameters);

Linear make_linear(const Kernels& kernels, Arena& arena, int outputs, int inputs,
                   Parameters& parameters);

// (heads, queries, keys) with rows of padded(keys).
const float* make_attention_bias(Arena& arena, int heads, int queries, int keys,
                                 Parameters& parameters);

// rows (count, depth) -> result (count, columns).
void multiply(WorkerPool& pool, const Kernels& kernels, const Linear& layer, const Rows& rows,
              int count, After after, Grid result);

}  // namespace levit::native

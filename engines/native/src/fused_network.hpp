// A fused LeViT: images in, logits out.
#pragma once

#include <array>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include "layers.hpp"
#include "workspaces.hpp"

namespace levit::native {

struct Pixels {
  const std::uint8_t* first;
  const float* normalized;  // (3, 256): the value of every byte in each channel
};

// Images hold NaN or infinity, which some kernels would turn into plausible logits.
class NotFiniteError : public std::runtime_error {
 public:
  NotFiniteError() : std::runtime_error("images hold NaN or infinity: look at the preprocessing") {}
};

class Network {
 public:
  // Throws ConfigurationError and std::bad_alloc.
  Network(const Kernels& kernels, const levit_native_options& options, Parameters& parameters);

  const Kernels& kernels() const { return kernels_; }

  // May be called from several threads at once: see Workspaces. Throws NotFiniteError and
  // std::bad_alloc.
  void run(const float* images, std::size_t batch, float* logits) const;
  void run(const Pixels& pixels, std::size_t batch, float* logits) const;

 private:
  struct Attention {
    int heads, key_width, value_width, query_side, key_side;
    const float* bias;
    Linear query, rest, projection;  // `rest` has the queries too where `query` is none
    int queries() const { return query_side * query_side; }
    int keys() const { return key_side * key_side; }
    bool shrinks() const { return query.outputs() != 0; }
    int head_width() const { return (shrinks() ? 0 : key_width) + key_width + value_width; }
  };
  struct Block {
    Attention attention;
    Linear expand, contract;
  };

  // Where a convolution of the stem reads and writes.
  struct Convolution {
    const float* maps;
    int wide, pixel;
    float* results;
    int side, result_rim, result_pixel;
    After after;
    // Those of the results in row `y` of an image.
    Rows rows(int image, int y) const;
    Grid result(int image, int y) const;
  };

  void add_blocks(const levit_native_options& options, Parameters& parameters);
  Attention make_attention(int width, int outputs, int heads, int value_ratio, int side,
                           bool shrinks, Parameters& parameters);
  void add_mlp(Attention attention, int width, Parameters& parameters);
  void reserve(Workspace& work, int batch) const;

  template <class Read>
  void run_all(std::size_t batch, float* logits, const Read& read) const;
  void copy_images(Workspace& work, const float* images, int batch) const;
  void copy_pixels(Workspace& work, const Pixels& pixels, int batch) const;
  void run_stem(Workspace& work, int batch) const;
  Convolution convolution(const Workspace& work, std::size_t layer) const;
  void convolve(Workspace& work, std::size_t layer, int batch) const;
  void prepare_and_convolve(Workspace& work, std::size_t layer, int batch) const;
  int stem_groups(const Workspace& work, std::size_t layer) const;
  void attend(Workspace& work, const Attention& attention, int batch) const;
  void pick_queries(Workspace& work, const Attention& attention, int width, int batch) const;
  void run_blocks(Workspace& work, int batch) const;
  void run_head(Workspace& work, int batch, float* logits) const;

  const Kernels& kernels_;
  const int image_size_, key_width_, classes_;
  Arena arena_;
  std::vector<Linear> stem_;
  std::vector<int> pixel_widths_;
  std::vector<Block> blocks_;
  Linear head_;
  mutable Workspaces workspaces_;
};

}  // namespace levit::native

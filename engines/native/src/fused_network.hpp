// A fused LeViT: images in, logits out.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "layers.hpp"

namespace levit::native {

struct Pixels {
  const std::uint8_t* first;
  const float* normalized;  // (3, 256): the value of every byte in each channel
};

class Network {
 public:
  // Throws ConfigurationError and std::bad_alloc.
  Network(const Kernels& kernels, const levit_native_options& options, Parameters& parameters);

  const Kernels& kernels() const { return kernels_; }

  // Not for several threads at once. Throws std::bad_alloc.
  void run(const float* images, std::size_t batch, float* logits);
  void run(const Pixels& pixels, std::size_t batch, float* logits);

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
  void reserve(int batch);

  template <class Read>
  void run_all(std::size_t batch, float* logits, const Read& read);
  void copy_images(const float* images, int batch);
  void copy_pixels(const Pixels& pixels, int batch);
  void run_stem(int batch);
  Convolution convolution(std::size_t layer);
  void convolve(std::size_t layer, int batch);
  void prepare_and_convolve(std::size_t layer, int batch);
  int stem_groups(std::size_t layer) const;
  void attend(const Attention& attention, int batch);
  void pick_queries(const Attention& attention, int width, int batch);
  void run_blocks(int batch);
  void run_head(int batch, float* logits);

  const Kernels& kernels_;
  const int image_size_, key_width_, classes_;
  Arena arena_;
  std::vector<Linear> stem_;
  std::vector<int> pixel_widths_;
  std::vector<Block> blocks_;
  Linear head_;
  WorkerPool pool_;

  int reserved_ = 0;  // images that there is room for below
  Arena activations_;
  std::vector<float*>
      feature_maps_;  // what each convolution of the stem reads, with a rim of zeros
  float *tokens_ = nullptr, *picked_ = nullptr, *queries_ = nullptr, *heads_ = nullptr,
        *mixed_ = nullptr, *hidden_ = nullptr, *mean_ = nullptr, *logits_ = nullptr,
        *prepared_ = nullptr;
  std::vector<float*> scratch_;  // one for each thread
};

}  // namespace levit::native

// As levit_engines.native.parameters does it in Python.
#include "native_parameters.hpp"

#include <cstdint>

namespace levit {
namespace {

constexpr int kernel_side = 3;
constexpr int image_channels = 3;
constexpr int patch = 16;
constexpr int value_ratio = 2;
constexpr int downsample_value_ratio = 4;
constexpr int mlp_ratio = 2;
constexpr int stem_divisors[] = {8, 4, 2, 1};

class Parameters {
 public:
  explicit Parameters(const Manifest& manifest)
      : sizes_(manifest.architecture), side_(manifest.preprocessing.image_size / patch) {
    stem();
    for (std::size_t stage = 0; stage < sizes_.embed_dims.size(); ++stage) {
      if (stage > 0) downsample(stage);
      for (int block = 0; block < sizes_.depths[stage]; ++block) attend_and_mix(stage, block);
    }
    linear("head", sizes_.embed_dims.back(), manifest.num_classes);
  }

  std::vector<std::pair<std::string, OnnxShape>> found;

 private:
  void add(const std::string& path, OnnxShape shape) { found.emplace_back(path, std::move(shape)); }

  void linear(const std::string& path, int inputs, int outputs) {
    add(path + ".weight", {outputs, inputs});
    add(path + ".bias", {outputs});
  }

  void stem() {
    int inputs = image_channels;
    int number = 0;
    for (const int divisor : stem_divisors) {
      const std::string path = "stem.conv" + std::to_string(++number);
      const int outputs = sizes_.embed_dims.front() / divisor;
      add(path + ".weight", {outputs, inputs, kernel_side, kernel_side});
      add(path + ".bias", {outputs});
      inputs = outputs;
    }
  }

  void mlp(const std::string& path, int width) {
    linear(path + ".mlp.expand", width, mlp_ratio * width);
    linear(path + ".mlp.contract", mlp_ratio * width, width);
  }

  // A downsampler keeps every second row and column of the tokens.
  void downsample(std::size_t stage) {
    const int before = sizes_.embed_dims[stage - 1], after = sizes_.embed_dims[stage];
    const int heads = before / sizes_.key_dim, values = downsample_value_ratio * sizes_.key_dim;
    const int keys = side_ * side_;
    side_ = (side_ + 1) / 2;
    const std::string path = "stages." + std::to_string(stage) + ".downsample";
    add(path + ".attention.bias", {heads, side_ * side_, keys});
    linear(path + ".attention.key_value", before, heads * (sizes_.key_dim + values));
    linear(path + ".attention.query", before, heads * sizes_.key_dim);
    linear(path + ".attention.projection", heads * values, after);
    mlp(path, after);
  }

  void attend_and_mix(std::size_t stage, int block) {
    const int width = sizes_.embed_dims[stage], heads = sizes_.heads[stage];
    const int values = value_ratio * sizes_.key_dim, tokens = side_ * side_;
    const std::string path = "stages." + std::to_string(stage) + ".blocks." + std::to_string(block);
    add(path + ".attention.bias", {heads, tokens, tokens});
    linear(path + ".attention.qkv", width, heads * (2 * sizes_.key_dim + values));
    linear(path + ".attention.projection", heads * values, width);
    mlp(path, width);
  }

  const Architecture& sizes_;
  int side_;  // of the square of tokens
};

}  // namespace

std::vector<std::pair<std::string, OnnxShape>> native_parameters(const Manifest& manifest) {
  return std::move(Parameters(manifest).found);
}

OnnxShape pixels_shape() { return {image_channels, 1, 1}; }

}  // namespace levit

#include "native_weights.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace levit {
namespace {

// From (rows, columns) at any address to (columns, rows), in squares that stay in the first cache.
template <typename Number>
void transpose(const char* from, std::size_t rows, std::size_t columns, float* to) {
  constexpr std::size_t square = 32;
  for (std::size_t top = 0; top < rows; top += square) {
    const std::size_t bottom = std::min(rows, top + square);
    for (std::size_t left = 0; left < columns; left += square) {
      const std::size_t right = std::min(columns, left + square);
      for (std::size_t column = left; column < right; ++column) {
        for (std::size_t row = top; row < bottom; ++row) {
          Number value;
          std::memcpy(&value, from + (row * columns + column) * sizeof value, sizeof value);
          to[column * rows + row] = static_cast<float>(value);
        }
      }
    }
  }
}

std::size_t count_of(const OnnxShape& shape) {
  std::size_t count = 1;
  for (const std::int64_t side : shape) count *= static_cast<std::size_t>(side);
  return count;
}

}  // namespace

NativeWeights::NativeWeights(const std::vector<std::pair<std::string, OnnxShape>>& order,
                             const std::map<std::string, OnnxParameter>& floats,
                             std::map<std::string, QuantizedLayer> quantized)
    : quantized_(std::move(quantized)) {
  for (const auto& [path, shape] : order) {
    const auto layer = quantized_.find(path);
    if (layer == quantized_.end()) {
      parameters_.push_back({floats.at(path), nullptr, count_of(shape)});
    } else {
      parameters_.push_back({{}, &layer->second, count_of(shape)});
    }
  }
}

levit_native_parameter NativeWeights::unpack(std::size_t index) {
  const Parameter& parameter = parameters_.at(index);
  std::vector<float>& unpacked = unpacked_[index % unpacked_.size()];
  if (unpacked.size() < parameter.count) unpacked.resize(parameter.count);
  levit_native_parameter given{unpacked.data(), parameter.count, nullptr, 0, 0};
  if (parameter.layer != nullptr) {
    const QuantizedLayer& layer = *parameter.layer;
    const std::size_t outputs = layer.scales.size();
    transpose<std::int8_t>(layer.weights.data(), parameter.count / outputs, outputs,
                           unpacked.data());
    given.scales = layer.scales.data();
    given.input_scale = layer.input_scale;
    given.input_offset = layer.input_offset;
  } else if (parameter.floats.inputs != 0) {
    const auto inputs = static_cast<std::size_t>(parameter.floats.inputs);
    transpose<float>(parameter.floats.content.data(), inputs, parameter.count / inputs,
                     unpacked.data());
  } else if (parameter.floats.content.empty()) {
    std::fill_n(unpacked.begin(), parameter.count, 0.0F);
  } else {
    std::memcpy(unpacked.data(), parameter.floats.content.data(), parameter.floats.content.size());
  }
  return given;
}

std::vector<float> floats_of(const OnnxParameter& parameter) {
  std::vector<float> values(parameter.content.size() / sizeof(float));
  std::memcpy(values.data(), parameter.content.data(), values.size() * sizeof(float));
  return values;
}

}  // namespace levit

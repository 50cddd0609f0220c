// As levit_engines.native.quantized does it in Python.
#include "onnx_quantized.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>

#include "error.hpp"
#include "protobuf_fields.hpp"

namespace levit {
namespace {

constexpr int largest_weight = 64;
constexpr std::uint64_t largest_byte = 255;
constexpr std::string_view quantize = "QuantizeLinear";
constexpr std::string_view dequantize = "DequantizeLinear";

[[noreturn]] void refuse(const std::string& reason) { throw Error(Status::input, reason); }

void require(bool holds) {
  if (!holds) refuse("a quantised layer is not as levit-export writes it");
}

// A graph by the names of its values.
class Values {
 public:
  explicit Values(const OnnxGraph& graph) {
    for (const OnnxNode& node : graph.nodes) {
      for (const std::string_view output : node.outputs) producers_[output] = &node;
    }
    for (const OnnxConstant& constant : graph.constants) constants_[constant.name] = &constant;
  }

  // The node that computes a value, or nullptr.
  const OnnxNode* producer(std::string_view value) const {
    const auto found = producers_.find(value);
    return found == producers_.end() ? nullptr : found->second;
  }

  // One that is of this type and in this file.
  const OnnxConstant& constant(std::string_view name, OnnxType type) const {
    const auto found = constants_.find(name);
    require(found != constants_.end() && found->second->type == type &&
            !found->second->is_elsewhere);
    return *found->second;
  }

 private:
  std::map<std::string_view, const OnnxNode*> producers_;
  std::map<std::string_view, const OnnxConstant*> constants_;
};

std::vector<float> floats_of(const OnnxConstant& constant, std::size_t count) {
  require(constant.content.size() == count * sizeof(float));
  std::vector<float> values(count);
  std::memcpy(values.data(), constant.content.data(), constant.content.size());
  return values;
}

bool is_scale(float value) { return std::isfinite(value) && value > 0; }

bool is_scalar(const OnnxConstant& constant) {
  return constant.shape.empty() || constant.shape == OnnxShape{1};
}

// Zero has one byte, whether it is written as a number or as a varint.
bool are_zeros(const OnnxConstant& constant, std::size_t count) {
  return constant.content.size() == count &&
         std::all_of(constant.content.begin(), constant.content.end(),
                     [](char byte) { return byte == 0; });
}

bool are_weights(std::string_view content) {
  return std::all_of(content.begin(), content.end(), [](char byte) {
    return std::abs(int{static_cast<signed char>(byte)}) <= largest_weight;
  });
}

int byte_of(const OnnxConstant& constant) {
  std::string_view rest = constant.content;
  require(is_scalar(constant) && !rest.empty());
  if (!constant.is_packed) {
    require(rest.size() == 1);
    return static_cast<unsigned char>(rest.front());
  }
  const std::uint64_t value = take_varint(rest);
  require(rest.empty() && value <= largest_byte);
  return static_cast<int>(value);
}

// Only after this are the sizes of what is read known to be those that the network needs.
void require_wanted(const ParameterShapes& shapes, const std::string& path,
                    const OnnxShape& shape) {
  const auto wanted = shapes.find(path);
  if (wanted == shapes.end() || wanted->second != OnnxShape{shape[1], shape[0]})
    refuse(shown(path) + " is of another network");
}

// The layer that `node` is the product of, whose weights, at `path`, `weights` makes of bytes.
QuantizedLayer read_layer(const Values& values, const OnnxNode& node, const OnnxNode& weights,
                          const ParameterShapes& shapes, const std::string& path) {
  const OnnxNode* const restored = values.producer(node.inputs[0]);
  require(restored != nullptr && restored->operation == dequantize && !restored->inputs.empty());
  const OnnxNode* const rounded = values.producer(restored->inputs[0]);
  require(rounded != nullptr && rounded->operation == quantize && rounded->inputs.size() == 3 &&
          weights.inputs.size() == 3);
  const OnnxConstant& bytes = values.constant(weights.inputs[0], OnnxType::int8);
  require(!bytes.is_packed && bytes.shape.size() == 2);
  require_wanted(shapes, path, bytes.shape);
  const auto inputs = static_cast<std::size_t>(bytes.shape[0]);
  const auto outputs = static_cast<std::size_t>(bytes.shape[1]);
  require(bytes.content.size() == inputs * outputs && are_weights(bytes.content));
  const OnnxConstant& scales = values.constant(weights.inputs[1], OnnxType::float32);
  const OnnxConstant& scale = values.constant(rounded->inputs[1], OnnxType::float32);
  require(scales.shape == OnnxShape{bytes.shape[1]} && is_scalar(scale) &&
          are_zeros(values.constant(weights.inputs[2], OnnxType::int8), outputs));
  QuantizedLayer layer{bytes.content, floats_of(scales, outputs), floats_of(scale, 1).front(),
                       byte_of(values.constant(rounded->inputs[2], OnnxType::uint8))};
  require(is_scale(layer.input_scale) &&
          std::all_of(layer.scales.begin(), layer.scales.end(), is_scale));
  return layer;
}

}  // namespace

QuantizedLayers read_quantized(const OnnxGraph& graph, const ParameterShapes& shapes) {
  const Values values(graph);
  QuantizedLayers layers;
  for (const OnnxNode& node : graph.nodes) {
    if (node.operation == quantize || node.operation == dequantize)
      layers.constants.insert(node.inputs.begin(), node.inputs.end());
    if (node.operation != "MatMul") continue;
    require(node.inputs.size() >= 2);
    const OnnxNode* const weights = values.producer(node.inputs[1]);
    if (weights == nullptr || weights->operation != dequantize) continue;
    const std::string path = std::string(node.name.substr(0, node.name.rfind('/'))) + ".weight";
    require(layers.by_path.count(path) == 0);
    layers.by_path.emplace(path, read_layer(values, node, *weights, shapes, path));
  }
  return layers;
}

}  // namespace levit

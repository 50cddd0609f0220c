// The linear layers of an int8 graph for CPUs, as levit_export.precision.integers writes them:
// pairs of QuantizeLinear and DequantizeLinear.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "onnx_graph.hpp"
#include "onnx_parameters.hpp"

namespace levit {

// Weights (inputs, outputs) in the bytes of the model, int8 from -64 to 64, with a scale for each
// output. What goes into the layer becomes round(value / `input_scale`) + `input_offset`, from 0 to
// 255.
struct QuantizedLayer {
  std::string_view weights;
  std::vector<float> scales;
  float input_scale = 0;
  int input_offset = 0;
};

struct QuantizedLayers {
  std::map<std::string, QuantizedLayer> by_path;  // of their weights
  std::set<std::string_view> constants;           // that their pairs read, by name
};

// `shapes` has the weights as (outputs, inputs). Throws Error(input) for what levit-export would
// not have written.
QuantizedLayers read_quantized(const OnnxGraph& graph, const ParameterShapes& shapes);

}  // namespace levit

// The parameters of the fused network as an ONNX graph of ours carries them.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>

#include "onnx_graph.hpp"

namespace levit {

// Float32, somewhere in the bytes of the model: at any address. The weights of a product lie as
// (inputs, outputs), those of a linear layer as (outputs, inputs).
struct OnnxParameter {
  std::string_view content;  // none: zeros
  std::int64_t inputs = 0;   // of a product, else 0
};

using ParameterShapes = std::map<std::string, OnnxShape, std::less<>>;

// By its path in the network, for each of `shapes`, what the constant of the graph holds: exactly
// as many numbers as its shape has. Weights are (outputs, inputs) in the shapes, whichever way they
// lie; 1x1 convolutions and biases with dimensions of one are taken for what they are. Constants of
// whole numbers are passed by, and those called as one of `others`. Throws Error(input), naming the
// constant, when one is not float32, not in the file, or not the network's; and the parameter that
// has none, unless nothing depends on it: the attention bias of a single key.
std::map<std::string, OnnxParameter> read_parameters(const OnnxGraph& graph,
                                                     const ParameterShapes& shapes,
                                                     const std::set<std::string_view>& others);

}  // namespace levit

// The parameters of a fused LeViT in the order in which the native kernels take them: that of the
// forward pass.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "manifest.hpp"
#include "onnx_graph.hpp"

namespace levit {

// Every parameter of the fused network by its path, with its shape.
std::vector<std::pair<std::string, OnnxShape>> native_parameters(const Manifest& manifest);

// What a graph that takes pixels has besides, each of `pixels_shape`: a channel is normalised as
// pixel * scale + shift.
inline constexpr const char* pixels_scale = "preprocessing.scale";
inline constexpr const char* pixels_shift = "preprocessing.shift";
OnnxShape pixels_shape();

}  // namespace levit

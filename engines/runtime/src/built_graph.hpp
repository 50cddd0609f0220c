// The graph that levit-build optimised: bound to a release of ONNX Runtime and to CPU features, and
// several times faster to open, because nothing is optimised again and its weights are mapped
// instead of read.
#pragma once

#include <string>

#include "manifest.hpp"

namespace levit {

// The engine under which levit-build files it.
constexpr const char* built_graph_engine = "onnxruntime";

// Why the graph must not be used here, with this release of ONNX Runtime; "" when it may.
std::string misfit(const Manifest& manifest, const EngineEntry& entry,
                   const std::string& onnxruntime_version);

}  // namespace levit

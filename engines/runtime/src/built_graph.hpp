// The graph that levit-build optimised: bound to a release of ONNX Runtime and to CPU features, and
// several times faster to open, because nothing is optimised again.
#pragma once

#include <string>

#include "manifest.hpp"

namespace levit {

// The engine under which levit-build files it.
constexpr const char* built_graph_engine = "onnxruntime";

// Why the graph must not be used here, with this release of ONNX Runtime; "" when it may. What it
// does not say, or what is not known of this machine, is a reason too.
std::string reason_not_to_use(const Manifest& manifest, const EngineEntry& entry,
                              const std::string& onnxruntime_version);

}  // namespace levit

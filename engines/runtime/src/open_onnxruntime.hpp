// Opens the network of a bundle in ONNX Runtime.
#pragma once

#include <string>

#include "bundle.hpp"
#include "network.hpp"
#include "onnxruntime_session.hpp"

namespace levit {

// `library` is the path of ONNX Runtime, or "". With `use_built_graph` the graph that levit-build
// optimised is loaded where it serves on this CPU; a note says why where it does not. Throws Error;
// see levit_open.
OpenedNetwork open_onnxruntime(const Bundle& bundle, const SessionSettings& settings,
                               const std::string& library, bool use_built_graph);

}  // namespace levit

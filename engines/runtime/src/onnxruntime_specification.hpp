// Whether a graph takes and gives exactly what the manifest says.
#pragma once

#include <string>

#include "manifest.hpp"
#include "onnxruntime_library.hpp"

namespace levit {

// ONNX Runtime's number of an element type that a manifest may name, or UNDEFINED.
ONNXTensorElementDataType element_type(const std::string& dtype);

// Throws Error(input) that says what was found and what the manifest promises.
void require_specification(const OnnxRuntime& runtime, const OrtSession& session,
                           const Manifest& manifest, const std::string& name);

}  // namespace levit

// Which provider runs a bundle where none is asked for; as levit_engines.engine_choice in Python.
#pragma once

#include <levit/levit.h>

#include <functional>
#include <string>

#include "manifest.hpp"

namespace levit {

// LEVIT_PROVIDER_NATIVE where the kernels take the bundle and either `instruction_set`, the best
// that they have here, is one with which they were measured to be the fastest, or there is no
// ONNX Runtime; else LEVIT_PROVIDER_CPU. `finds_onnxruntime` is called only where it matters.
levit_provider fastest_provider(const Manifest& manifest, const std::string& instruction_set,
                                const std::function<bool()>& finds_onnxruntime);

}  // namespace levit

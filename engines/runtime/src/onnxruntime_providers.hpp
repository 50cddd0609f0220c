// Execution providers: what was asked for serves the whole graph, or opening fails.
#pragma once

#include <levit/levit.h>

#include <string>

#include "manifest.hpp"
#include "onnxruntime_library.hpp"

namespace levit {

// ONNX Runtime's name of a provider. Throws Error(argument) for a number that is none.
std::string provider_name(levit_provider provider);

// Adds `provider` on GPU `device` to the options of a session on the graph that `manifest`
// describes, and forbids the CPU to take over what it leaves. Does nothing for the CPU. Throws
// Error(environment) when it is not there, or NVIDIA_TF32_OVERRIDE asks for TF32.
void append_provider(const OnnxRuntime& runtime, OrtSessionOptions& options,
                     levit_provider provider, std::uint32_t device, const Manifest& manifest);

}  // namespace levit

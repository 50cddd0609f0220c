// The network of a bundle in ONNX Runtime.
#pragma once

#include <levit/levit.h>

#include <cstdint>
#include <string>
#include <vector>

#include "manifest.hpp"
#include "onnxruntime_handles.hpp"
#include "onnxruntime_library.hpp"

namespace levit {

struct SessionSettings {
  levit_provider provider = LEVIT_PROVIDER_CPU;
  std::uint32_t device = 0;
  std::uint32_t threads = 1;
};

// A session that takes and gives what the manifest says. `run` may be called from several threads
// at once.
class OnnxRuntimeSession {
 public:
  // On the bytes of a graph, which are not needed afterwards. `name` is what messages call it.
  // Throws Error(input) when ONNX Runtime refuses it or it is not what the manifest says,
  // Error(environment) when the provider is missing or cannot serve all of it.
  OnnxRuntimeSession(const OnnxRuntime& runtime, const SessionSettings& settings,
                     const Manifest& manifest, const std::vector<std::uint8_t>& graph,
                     const std::string& name);

  // On the file of a graph that is optimised already; weights in a file beside it are mapped.
  OnnxRuntimeSession(const OnnxRuntime& runtime, const SessionSettings& settings,
                     const Manifest& manifest, const std::string& optimized_file);

  // Logits (count, classes) of `count` images in the manifest's layout. `count` is one that the
  // graph takes. Throws Error(failed).
  void run(const void* images, std::size_t count, float* logits) const;

 private:
  SessionOptionsOwner make_options(const SessionSettings& settings, const Manifest& manifest,
                                   bool optimize) const;
  void adopt(OrtStatus* outcome, OrtSession* session, const SessionSettings& settings,
             const std::string& name);
  void describe(const Manifest& manifest, const std::string& name);

  const OnnxRuntime& runtime_;
  SessionOwner session_;
  MemoryInfoOwner memory_;
  std::string input_name_;
  std::vector<std::int64_t> input_shape_;
  ONNXTensorElementDataType input_type_ = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  std::size_t image_bytes_ = 0;
  std::int64_t classes_ = 0;
};

}  // namespace levit

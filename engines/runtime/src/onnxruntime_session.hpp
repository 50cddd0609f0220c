// The network of a bundle in ONNX Runtime.
#pragma once

#include <levit/levit.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "manifest.hpp"
#include "network.hpp"
#include "onnxruntime_handles.hpp"
#include "onnxruntime_library.hpp"

namespace levit {

struct SessionSettings {
  levit_provider provider = LEVIT_PROVIDER_CPU;
  std::uint32_t device = 0;
  std::uint32_t threads = 1;
};

// A graph as it was read: nothing of it is opened by ONNX Runtime, because a file may be another
// one by then.
struct GraphFiles {
  std::string name;    // what messages call it
  std::string remedy;  // what mends it, as in "export it again"
  std::vector<std::uint8_t> model;
  std::map<std::string, std::vector<std::uint8_t>> weights;  // by the place that the model names
  bool is_optimized = false;
};

// A session that takes and gives what the manifest says.
class OnnxRuntimeSession final : public Network {
 public:
  // The bytes of the graph are not needed afterwards. Throws Error(input) when the graph refers to
  // another file than those in `weights`, ONNX Runtime refuses it or it is not what the manifest
  // says, Error(environment) when the provider is missing or cannot serve all of it, or ONNX
  // Runtime is too old to take weights from memory.
  OnnxRuntimeSession(const OnnxRuntime& runtime, const SessionSettings& settings,
                     const Manifest& manifest, const GraphFiles& graph);

  void run(const void* images, std::size_t count, float* logits) const override;

 private:
  SessionOptionsOwner make_options(const SessionSettings& settings, const Manifest& manifest,
                                   const GraphFiles& graph) const;
  void add_weights(OrtSessionOptions& options, const GraphFiles& graph) const;
  void adopt(OrtStatus* outcome, OrtSession* session, const SessionSettings& settings,
             const GraphFiles& graph);
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

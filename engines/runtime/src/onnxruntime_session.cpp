#include "onnxruntime_session.hpp"

#include <algorithm>

#include "error.hpp"
#include "onnx_references.hpp"
#include "onnxruntime_providers.hpp"
#include "onnxruntime_specification.hpp"
#include "text.hpp"

namespace levit {
namespace {

constexpr std::size_t largest_rank = 4;
constexpr int oldest_with_weights_in_memory = 18;

bool is_about_provider(const std::string& text) {
  for (const char* word : {"fallback to CPU EP", "ExecutionProvider", "TensorRT", "CUDA"}) {
    if (text.find(word) != std::string::npos) return true;
  }
  return false;
}

// Everything that is loaded was read from a member whose hash was checked.
void require_known_files(const GraphFiles& graph) {
  try {
    for (const std::string& file : external_files(graph.model.data(), graph.model.size())) {
      if (graph.weights.count(file) == 0) {
        throw Error(Status::input, "it keeps weights in " + quoted(file) +
                                       ", which manifest.json does not list with it");
      }
    }
  } catch (const Error& error) {
    throw Error(error.status(), graph.name + ": " + error.what() + "; " + graph.remedy);
  }
}

}  // namespace

OnnxRuntimeSession::OnnxRuntimeSession(const OnnxRuntime& runtime, const SessionSettings& settings,
                                       const Manifest& manifest, const GraphFiles& graph)
    : runtime_(runtime) {
  require_known_files(graph);
  const SessionOptionsOwner options = make_options(settings, manifest, graph);
  OrtSession* session = nullptr;
  OrtStatus* outcome = runtime_.api->CreateSessionFromArray(
      runtime_.environment, graph.model.data(), graph.model.size(), options.get(), &session);
  adopt(outcome, session, settings, graph);
  describe(manifest, graph.name);
}

SessionOptionsOwner OnnxRuntimeSession::make_options(const SessionSettings& settings,
                                                     const Manifest& manifest,
                                                     const GraphFiles& graph) const {
  const OrtApi& api = *runtime_.api;
  const auto require = [this](OrtStatus* outcome) {
    runtime_.require(outcome, Status::failed, "ONNX Runtime refuses the options of a session");
  };
  OrtSessionOptions* made = nullptr;
  require(api.CreateSessionOptions(&made));
  SessionOptionsOwner options(made, {&api});
  require(api.SetIntraOpNumThreads(made, static_cast<int>(settings.threads)));
  // Spinning triples the CPU time of a frame when frames come one by one, and gains nothing on a
  // busy machine.
  require(api.AddSessionConfigEntry(made, "session.intra_op.allow_spinning", "0"));
  // Whatever goes wrong arrives as a status too; the log would only say it twice.
  require(api.SetSessionLogSeverityLevel(made, ORT_LOGGING_LEVEL_FATAL));
  if (graph.is_optimized) require(api.SetSessionGraphOptimizationLevel(made, ORT_DISABLE_ALL));
  if (!graph.weights.empty()) add_weights(*made, graph);
  append_provider(runtime_, *made, settings.provider, settings.device, manifest);
  return options;
}

void OnnxRuntimeSession::add_weights(OrtSessionOptions& options, const GraphFiles& graph) const {
#if ORT_API_VERSION >= 18
  if (runtime_.minor_version >= oldest_with_weights_in_memory) {
    std::vector<const char*> names;
    std::vector<char*> contents;
    std::vector<std::size_t> sizes;
    for (const auto& [name, content] : graph.weights) {
      names.push_back(name.c_str());
      // ONNX Runtime copies them; its type is older than const.
      contents.push_back(
          const_cast<char*>(static_cast<const char*>(static_cast<const void*>(content.data()))));
      sizes.push_back(content.size());
    }
    runtime_.require(runtime_.api->AddExternalInitializersFromFilesInMemory(
                         &options, names.data(), contents.data(), sizes.data(), names.size()),
                     Status::failed, graph.name + ": ONNX Runtime refuses its weights");
    return;
  }
#endif
  throw Error(Status::environment,
              graph.name + ": its weights are in a file of their own, which ONNX Runtime " +
                  runtime_.version + ", or the one that this program was built for, cannot take " +
                  "from memory: 1." + std::to_string(oldest_with_weights_in_memory) + " can");
}

void OnnxRuntimeSession::adopt(OrtStatus* outcome, OrtSession* session,
                               const SessionSettings& settings, const GraphFiles& graph) {
  if (outcome != nullptr) {
    const std::string said = runtime_.message(outcome);
    const std::string provider = provider_name(settings.provider);
    if (settings.provider != LEVIT_PROVIDER_CPU && is_about_provider(said)) {
      throw Error(Status::environment,
                  graph.name + ": " + provider + " cannot run the whole graph here (" + said + ")");
    }
    throw Error(Status::input,
                graph.name + ": ONNX Runtime refuses it (" + said + "); " + graph.remedy);
  }
  session_ = SessionOwner(session, {runtime_.api});
}

void OnnxRuntimeSession::describe(const Manifest& manifest, const std::string& name) {
  require_specification(runtime_, *session_, manifest, name);
  OrtMemoryInfo* memory = nullptr;
  runtime_.require(
      runtime_.api->CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &memory),
      Status::memory, "ONNX Runtime cannot describe memory");
  memory_ = MemoryInfoOwner(memory, {runtime_.api});
  input_name_ = manifest.input.name;
  input_shape_ = manifest.input.shape;
  input_type_ = element_type(manifest.input.dtype);
  image_bytes_ = input_type_ == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT ? sizeof(float) : 1;
  for (std::size_t axis = 1; axis < input_shape_.size(); ++axis) {
    image_bytes_ *= static_cast<std::size_t>(input_shape_[axis]);
  }
  classes_ = manifest.num_classes;
  if (input_shape_.size() != largest_rank) {
    throw Error(Status::input,
                name + ": its input has " + std::to_string(input_shape_.size()) + " axes, not 4");
  }
}

void OnnxRuntimeSession::run(const void* images, std::size_t count, float* logits) const {
  const OrtApi& api = *runtime_.api;
  const auto require = [this](OrtStatus* outcome) {
    runtime_.require(outcome, Status::failed, "ONNX Runtime failed");
  };
  std::int64_t shape[largest_rank];
  std::copy(input_shape_.begin(), input_shape_.end(), shape);
  shape[0] = static_cast<std::int64_t>(count);
  const std::int64_t logits_shape[] = {shape[0], classes_};
  const std::size_t logits_bytes = count * static_cast<std::size_t>(classes_) * sizeof(float);

  // Both lie in memory of ours: nothing is allocated or copied for them. Inputs are only read.
  OrtValue* made = nullptr;
  require(api.CreateTensorWithDataAsOrtValue(memory_.get(), const_cast<void*>(images),
                                             count * image_bytes_, shape, largest_rank, input_type_,
                                             &made));
  const ValueOwner input(made, {&api});
  require(api.CreateTensorWithDataAsOrtValue(memory_.get(), logits, logits_bytes, logits_shape, 2,
                                             ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &made));
  const ValueOwner output(made, {&api});

  const char* const input_names[] = {input_name_.c_str()};
  const char* const output_names[] = {"logits"};
  const OrtValue* const inputs[] = {input.get()};
  OrtValue* outputs[] = {output.get()};
  require(api.Run(session_.get(), nullptr, input_names, inputs, 1, output_names, 1, outputs));
}

}  // namespace levit

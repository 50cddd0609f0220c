#include "onnxruntime_session.hpp"

#include "error.hpp"
#include "onnxruntime_providers.hpp"
#include "onnxruntime_specification.hpp"

namespace levit {
namespace {

constexpr std::size_t largest_rank = 4;

bool is_about_provider(const std::string& text) {
  for (const char* word : {"fallback to CPU EP", "ExecutionProvider", "TensorRT", "CUDA"}) {
    if (text.find(word) != std::string::npos) return true;
  }
  return false;
}

}  // namespace

OnnxRuntimeSession::OnnxRuntimeSession(const OnnxRuntime& runtime, const SessionSettings& settings,
                                       const Manifest& manifest,
                                       const std::vector<std::uint8_t>& graph,
                                       const std::string& name)
    : runtime_(runtime) {
  const SessionOptionsOwner options = make_options(settings, manifest, true);
  OrtSession* session = nullptr;
  OrtStatus* outcome = runtime_.api->CreateSessionFromArray(runtime_.environment, graph.data(),
                                                            graph.size(), options.get(), &session);
  adopt(outcome, session, settings, name);
  describe(manifest, name);
}

OnnxRuntimeSession::OnnxRuntimeSession(const OnnxRuntime& runtime, const SessionSettings& settings,
                                       const Manifest& manifest, const std::string& optimized_file)
    : runtime_(runtime) {
  const SessionOptionsOwner options = make_options(settings, manifest, false);
  OrtSession* session = nullptr;
  OrtStatus* outcome = runtime_.api->CreateSession(runtime_.environment, optimized_file.c_str(),
                                                   options.get(), &session);
  adopt(outcome, session, settings, optimized_file);
  describe(manifest, optimized_file);
}

SessionOptionsOwner OnnxRuntimeSession::make_options(const SessionSettings& settings,
                                                     const Manifest& manifest,
                                                     bool optimize) const {
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
  if (!optimize) require(api.SetSessionGraphOptimizationLevel(made, ORT_DISABLE_ALL));
  append_provider(runtime_, *made, settings.provider, settings.device, manifest);
  return options;
}

void OnnxRuntimeSession::adopt(OrtStatus* outcome, OrtSession* session,
                               const SessionSettings& settings, const std::string& name) {
  if (outcome != nullptr) {
    const std::string said = runtime_.message(outcome);
    const std::string provider = provider_name(settings.provider);
    if (settings.provider != LEVIT_PROVIDER_CPU && is_about_provider(said)) {
      throw Error(Status::environment,
                  name + ": " + provider + " cannot run the whole graph here (" + said + ")");
    }
    throw Error(Status::input, name + ": ONNX Runtime refuses it (" + said + "); export it again");
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

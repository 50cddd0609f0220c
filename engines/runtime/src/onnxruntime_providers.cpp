#include "onnxruntime_providers.hpp"

#include <utility>
#include <vector>

#include "environment_variable.hpp"
#include "error.hpp"
#include "onnxruntime_handles.hpp"
#include "tf32.hpp"

namespace levit {
namespace {

using Settings = std::vector<std::pair<std::string, std::string>>;

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

std::vector<std::string> available_providers(const OnnxRuntime& runtime) {
  char** names = nullptr;
  int count = 0;
  runtime.require(runtime.api->GetAvailableProviders(&names, &count), Status::failed,
                  "ONNX Runtime failed");
  std::vector<std::string> found(names, names + count);
  runtime.message(runtime.api->ReleaseAvailableProviders(names, count));
  return found;
}

void require_available(const OnnxRuntime& runtime, const std::string& wanted) {
  const std::vector<std::string> available = available_providers(runtime);
  for (const std::string& name : available) {
    if (name == wanted) return;
  }
  throw Error(Status::environment, runtime.path + ": this ONNX Runtime has no " + wanted +
                                       ", only " + joined(available) +
                                       ": name the library of a build that has it");
}

// The shapes that TensorRT builds for: the batch sizes of the bundle.
Settings tensorrt_profile(const Manifest& manifest) {
  std::string sides;
  for (std::size_t axis = 1; axis < manifest.input.shape.size(); ++axis) {
    sides += "x" + std::to_string(manifest.input.shape[axis]);
  }
  const auto shape = [&](int batch) {
    return manifest.input.name + ":" + std::to_string(batch) + sides;
  };
  return {{"trt_profile_min_shapes", shape(manifest.batch_minimum)},
          {"trt_profile_opt_shapes", shape(manifest.batch_minimum)},
          {"trt_profile_max_shapes", shape(manifest.batch_maximum)}};
}

// Calls `update` with the settings as two arrays of C texts.
template <typename Update>
OrtStatus* with_arrays(const Settings& settings, Update&& update) {
  std::vector<const char*> keys;
  std::vector<const char*> values;
  for (const auto& [key, value] : settings) {
    keys.push_back(key.c_str());
    values.push_back(value.c_str());
  }
  return std::forward<Update>(update)(keys.data(), values.data(), keys.size());
}

void append_cuda(const OnnxRuntime& runtime, OrtSessionOptions& options,
                 const std::string& device) {
  const OrtApi& api = *runtime.api;
  const std::string cannot = "CUDAExecutionProvider cannot start here";
  OrtCUDAProviderOptionsV2* made = nullptr;
  runtime.require(api.CreateCUDAProviderOptions(&made), Status::environment, cannot);
  const CudaOptionsOwner cuda(made, {&api});
  // TF32 keeps 10 bits of the mantissa: not what a fp32 bundle promises.
  const Settings settings{{"device_id", device}, {"use_tf32", "0"}};
  const auto update = [&](const char* const* keys, const char* const* values, std::size_t count) {
    return api.UpdateCUDAProviderOptions(cuda.get(), keys, values, count);
  };
  runtime.require(with_arrays(settings, update), Status::environment, cannot);
  runtime.require(api.SessionOptionsAppendExecutionProvider_CUDA_V2(&options, cuda.get()),
                  Status::environment, cannot);
}

void append_tensorrt(const OnnxRuntime& runtime, OrtSessionOptions& options,
                     const std::string& device, const Manifest& manifest) {
  const OrtApi& api = *runtime.api;
  const std::string cannot = "TensorrtExecutionProvider cannot start here";
  set_unless_set(tf32_variable, "0");  // it has no option for that
  OrtTensorRTProviderOptionsV2* made = nullptr;
  runtime.require(api.CreateTensorRTProviderOptions(&made), Status::environment, cannot);
  const TensorrtOptionsOwner tensorrt(made, {&api});
  Settings settings = tensorrt_profile(manifest);
  settings.emplace_back("device_id", device);
  const auto update = [&](const char* const* keys, const char* const* values, std::size_t count) {
    return api.UpdateTensorRTProviderOptions(tensorrt.get(), keys, values, count);
  };
  runtime.require(with_arrays(settings, update), Status::environment, cannot);
  runtime.require(api.SessionOptionsAppendExecutionProvider_TensorRT_V2(&options, tensorrt.get()),
                  Status::environment, cannot);
}

}  // namespace

std::string provider_name(levit_provider provider) {
  switch (provider) {
    case LEVIT_PROVIDER_CPU:
      return "CPUExecutionProvider";
    case LEVIT_PROVIDER_CUDA:
      return "CUDAExecutionProvider";
    case LEVIT_PROVIDER_TENSORRT:
      return "TensorrtExecutionProvider";
    default:
      throw Error(Status::argument,
                  "provider " + std::to_string(provider) + " is none that this library knows");
  }
}

void append_provider(const OnnxRuntime& runtime, OrtSessionOptions& options,
                     levit_provider provider, std::uint32_t device, const Manifest& manifest) {
  if (provider == LEVIT_PROVIDER_CPU) return;
  require_no_tf32();
  require_available(runtime, provider_name(provider));
  // A provider that fails to be appended leaves a session that runs on the CPU: its status is
  // checked, and the rest of the graph is refused to the CPU.
  if (provider == LEVIT_PROVIDER_CUDA) {
    append_cuda(runtime, options, std::to_string(device));
  } else {
    append_tensorrt(runtime, options, std::to_string(device), manifest);
  }
  runtime.require(
      runtime.api->AddSessionConfigEntry(&options, "session.disable_cpu_ep_fallback", "1"),
      Status::environment, "this ONNX Runtime cannot keep the CPU from taking over");
}

}  // namespace levit

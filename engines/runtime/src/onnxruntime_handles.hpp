// Owners of what ONNX Runtime hands out: each knows the function table, because the library was
// opened at run time.
#pragma once

#include <onnxruntime_c_api.h>

#include <memory>

namespace levit {

// Frees with the function `Release` of the table.
template <auto Release>
struct OrtRelease {
  const OrtApi* api = nullptr;
  template <typename Handle>
  void operator()(Handle* handle) const noexcept {
    (api->*Release)(handle);
  }
};

template <typename Handle, auto Release>
using OrtOwner = std::unique_ptr<Handle, OrtRelease<Release>>;

using SessionOwner = OrtOwner<OrtSession, &OrtApi::ReleaseSession>;
using SessionOptionsOwner = OrtOwner<OrtSessionOptions, &OrtApi::ReleaseSessionOptions>;
using ValueOwner = OrtOwner<OrtValue, &OrtApi::ReleaseValue>;
using MemoryInfoOwner = OrtOwner<OrtMemoryInfo, &OrtApi::ReleaseMemoryInfo>;
using TypeInfoOwner = OrtOwner<OrtTypeInfo, &OrtApi::ReleaseTypeInfo>;
using CudaOptionsOwner = OrtOwner<OrtCUDAProviderOptionsV2, &OrtApi::ReleaseCUDAProviderOptions>;
using TensorrtOptionsOwner =
    OrtOwner<OrtTensorRTProviderOptionsV2, &OrtApi::ReleaseTensorRTProviderOptions>;

}  // namespace levit

// What is asked of TensorRT and CUDA, in words of ours: no type of NVIDIA is seen outside of
// tensorrt_adapter.cpp, so that all else is tested without a GPU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "manifest.hpp"
#include "plan_choice.hpp"
#include "tensorrt_version.hpp"

namespace levit {

struct PlanTensor {
  Tensor tensor;
  bool is_input = false;
};

// One run of a plan: from memory of the host through memory of the GPU and back.
struct PlanRun {
  const void* images = nullptr;
  void* device_images = nullptr;
  std::size_t images_bytes = 0;
  void* logits = nullptr;
  const void* device_logits = nullptr;
  std::size_t logits_bytes = 0;
};

// A plan that was loaded, with one execution context; one thread at a time may use it. What fails
// throws Error(failed) with what the library says, unless it is said otherwise.
class Plan {
 public:
  Plan() = default;
  virtual ~Plan() = default;
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  // Inputs and outputs; -1 where a side is dynamic.
  virtual std::vector<PlanTensor> tensors() const = 0;

  // Memory of the GPU, and its end. `reserve` throws Error(memory).
  virtual void* reserve(std::size_t size_bytes) = 0;
  virtual void release(void* memory) noexcept = 0;

  // Where a tensor lies, and the shape of an input.
  virtual void bind(const std::string& tensor, void* memory) = 0;
  virtual void set_shape(const std::string& input, const std::vector<std::int64_t>& shape) = 0;

  // Returns when the logits are there, or nothing is under way any more.
  virtual void run(const PlanRun& work) = 0;
};

// An opened library of TensorRT.
class TensorRt {
 public:
  TensorRt() = default;
  virtual ~TensorRt() = default;
  TensorRt(const TensorRt&) = delete;
  TensorRt& operator=(const TensorRt&) = delete;

  virtual TensorRtVersion version() const = 0;
  virtual std::string path() const = 0;

  // Chooses the GPU for `load`. Throws Error(environment) when it is not there.
  virtual Capability use_gpu(std::uint32_t device) = 0;

  // The plan in those bytes, which are not needed afterwards; nullptr, and the reason in `said`,
  // when the library refuses it.
  virtual std::unique_ptr<Plan> load(const std::vector<std::uint8_t>& content,
                                     std::string& said) = 0;
};

// What LEVIT_TENSORRT_LIBRARY and LEVIT_CUDA_LIBRARY name, else what lies beside liblevit, else
// what the system's loader finds. Throws Error(environment), also when this program was built
// without TensorRT.
std::unique_ptr<TensorRt> open_tensorrt();

}  // namespace levit

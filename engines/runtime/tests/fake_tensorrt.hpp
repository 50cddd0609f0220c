// A TensorRT and a GPU for tests: memory of the host as memory of the GPU. It writes down what is
// reserved and freed, refuses access beyond it, and can fail at any call.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "error.hpp"
#include "tensorrt.hpp"

namespace levit_test {

// What the test says of the machine, and finds afterwards.
struct FakeMachine {
  levit::TensorRtVersion version{10, 13, 3, 9};
  levit::Capability capability{8, 6};
  int gpus = 1;
  std::string refuses_plan;  // what it says of every plan; "" takes it
  std::string failing;       // the call that fails
  std::vector<levit::PlanTensor> tensors;

  std::string loaded;  // the plan
  std::map<void*, std::vector<std::uint8_t>> memory;
  std::map<std::string, void*> bound;
  std::vector<std::int64_t> shape;
  std::vector<std::pair<std::size_t, std::size_t>> runs;  // bytes of images and of logits
  int shapes_set = 0;
  std::atomic<bool> busy{false};
  std::atomic<int> overlapping{0};
};

// Its logits are the first value of the image plus the number of the class.
class FakePlan final : public levit::Plan {
 public:
  explicit FakePlan(FakeMachine& machine) : machine_(machine) {}

  std::vector<levit::PlanTensor> tensors() const override { return machine_.tensors; }

  void* reserve(std::size_t size_bytes) override {
    fail_if("reserve");
    std::vector<std::uint8_t> bytes(size_bytes);
    void* const address = bytes.data();
    machine_.memory.emplace(address, std::move(bytes));
    return address;
  }

  void release(void* memory) noexcept override { machine_.memory.erase(memory); }

  void bind(const std::string& tensor, void* memory) override {
    fail_if("bind");
    machine_.bound[tensor] = memory;
  }

  void set_shape(const std::string& input, const std::vector<std::int64_t>& shape) override {
    fail_if("set_shape");
    if (input != "images") throw levit::Error(levit::Status::failed, "no input " + input);
    machine_.shape = shape;
    ++machine_.shapes_set;
  }

  void run(const levit::PlanRun& work) override {
    if (machine_.busy.exchange(true)) ++machine_.overlapping;
    fail_if("run");
    std::memcpy(held("images", work.device_images, work.images_bytes), work.images,
                work.images_bytes);
    const auto count = static_cast<std::size_t>(machine_.shape.front());
    const std::size_t classes = work.logits_bytes / count / sizeof(float);
    std::vector<float> logits(count * classes);
    for (std::size_t image = 0; image < count; ++image) {
      float first = 0;
      std::memcpy(
          &first,
          machine_.memory.at(work.device_images).data() + image * (work.images_bytes / count),
          sizeof first);
      for (std::size_t place = 0; place < classes; ++place) {
        logits[image * classes + place] = first + static_cast<float>(place);
      }
    }
    std::uint8_t* const written =
        held("logits", const_cast<void*>(work.device_logits), work.logits_bytes);
    std::memcpy(written, logits.data(), work.logits_bytes);
    std::memcpy(work.logits, written, work.logits_bytes);
    machine_.runs.emplace_back(work.images_bytes, work.logits_bytes);
    machine_.busy = false;
  }

 private:
  void fail_if(const std::string& call) const {
    if (machine_.failing != call) return;
    machine_.busy = false;
    throw levit::Error(levit::Status::failed, call + " failed");
  }

  // Memory that was reserved and bound to `tensor`, and is large enough.
  std::uint8_t* held(const std::string& tensor, void* address, std::size_t size_bytes) const {
    std::vector<std::uint8_t>& bytes = machine_.memory.at(address);
    if (machine_.bound.at(tensor) != address || bytes.size() < size_bytes) {
      throw levit::Error(levit::Status::failed, tensor + " lies elsewhere or is too small");
    }
    return bytes.data();
  }

  FakeMachine& machine_;
};

class FakeTensorRt final : public levit::TensorRt {
 public:
  explicit FakeTensorRt(FakeMachine& machine) : machine_(machine) {}

  levit::TensorRtVersion version() const override { return machine_.version; }
  std::string path() const override { return "/fake/libnvinfer.so.10"; }

  levit::Capability use_gpu(std::uint32_t device) override {
    if (device < static_cast<std::uint32_t>(machine_.gpus)) return machine_.capability;
    throw levit::Error(levit::Status::environment, "no such GPU");
  }

  std::unique_ptr<levit::Plan> load(const std::vector<std::uint8_t>& content,
                                    std::string& said) override {
    machine_.loaded.assign(content.begin(), content.end());
    said = machine_.refuses_plan;
    return said.empty() ? std::make_unique<FakePlan>(machine_) : nullptr;
  }

 private:
  FakeMachine& machine_;
};

// The tensors that `manifest` promises.
inline std::vector<levit::PlanTensor> promised(const levit::Manifest& manifest) {
  std::vector<levit::PlanTensor> tensors{{manifest.input, true}};
  for (const levit::Tensor& output : manifest.outputs) tensors.push_back({output, false});
  return tensors;
}

}  // namespace levit_test

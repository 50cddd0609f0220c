#include "gpu_choice.hpp"

#include "error.hpp"

namespace levit {

void require_gpu(const std::string& failure, bool driver_is_missing, int count,
                 std::uint32_t device) {
  if (driver_is_missing) {
    throw Error(Status::environment,
                "no NVIDIA driver, or one too old for this CUDA: install the driver, or use a "
                "machine with an NVIDIA GPU");
  }
  if (!failure.empty() || count < 1) {
    throw Error(Status::environment, "no NVIDIA GPU can be used here (" +
                                         (failure.empty() ? "CUDA sees no GPU" : failure) +
                                         "): look at nvidia-smi and CUDA_VISIBLE_DEVICES");
  }
  if (device >= static_cast<std::uint32_t>(count)) {
    throw Error(Status::environment, "there is no GPU " + std::to_string(device) +
                                         ", CUDA counts " + std::to_string(count) +
                                         " from 0 on: choose another device");
  }
}

}  // namespace levit

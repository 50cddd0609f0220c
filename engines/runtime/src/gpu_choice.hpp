// Whether the GPU that was asked for is there.
#pragma once

#include <cstdint>
#include <string>

namespace levit {

// Throws Error(environment) that says what is missing, unless CUDA counted more than `device` GPUs.
// `failure` is CUDA's name of what went wrong when it counted them, or "".
void require_gpu(const std::string& failure, bool driver_is_missing, int count,
                 std::uint32_t device);

}  // namespace levit

// TF32 keeps 10 bits of the mantissa: not what a fp32 bundle promises.
#pragma once

namespace levit {

// The variable that NVIDIA's libraries obey against all options.
constexpr const char* tf32_variable = "NVIDIA_TF32_OVERRIDE";

// Throws Error(environment) when the variable asks for TF32.
void require_no_tf32();

}  // namespace levit

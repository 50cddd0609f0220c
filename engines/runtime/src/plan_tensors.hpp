// Whether a plan takes and gives exactly what the manifest says.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "manifest.hpp"
#include "tensorrt.hpp"

namespace levit {

// Throws Error(input), with both sides in words, when inputs or outputs differ in name, type or
// shape. `name` is what messages call the plan, `remedy` the command that builds another.
void require_promised(const std::vector<PlanTensor>& found, const Manifest& manifest,
                      const std::string& name, const std::string& remedy);

// What one image takes of a tensor. Throws Error(input) when its first side is not `batch`, the one
// of the input, another side is dynamic, the type is none of a manifest, or it is too large.
std::size_t bytes_of_image(const Tensor& tensor, std::int64_t batch);

}  // namespace levit

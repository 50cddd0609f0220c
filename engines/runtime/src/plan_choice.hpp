// Whether the plan of TensorRT that a bundle holds can run here, asked of the manifest before
// anything of the plan is read. The words are those of levit_engines/tensorrt/compatibility.py.
#pragma once

#include <string>

#include "bundle.hpp"
#include "network.hpp"
#include "tensorrt_version.hpp"

namespace levit {

// The engine under which levit-build files it.
constexpr const char* plan_engine = "tensorrt";

// Compute capability of a GPU: 8.6 is {8, 6}.
struct Capability {
  int major = 0;
  int minor = 0;

  std::string text() const { return std::to_string(major) + "." + std::to_string(minor); }
};

// Operating system and processor, as the manifest records them: "linux-x86_64".
std::string platform_here();

// The command that builds another plan in its place.
std::string build_again(const Bundle& bundle);

// The plan's entry: built from this model.onnx, on this platform. Throws Error(environment), which
// says what to do, when there is none such.
const EngineEntry& plan_of(const Bundle& bundle);

// Throws Error(environment) unless the plan was built by the release of the library.
void require_version(const Bundle& bundle, const EngineEntry& entry,
                     const TensorRtVersion& library);

// Throws Error(environment) unless the plan was built for such a GPU, Error(input) when the
// manifest words it as levit-build never does.
void require_capability(const Bundle& bundle, const EngineEntry& entry, const Capability& gpu);

// The batch sizes that the plan was built for; their ends count as verified where no verified size
// is left. Throws Error(input) when they are not within those of the graph, or the smallest takes
// too much memory.
BatchSizes plan_batches(const Bundle& bundle, const EngineEntry& entry);

}  // namespace levit

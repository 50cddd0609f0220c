// Opens the network of a bundle as the plan of TensorRT that levit-build put into it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "bundle.hpp"
#include "network.hpp"
#include "tensorrt.hpp"

namespace levit {

// On GPU `device`, with the library that `open_library` opens once the bundle is found to have a
// plan. Nothing of the plan is read before all that the manifest says of it was found to hold here,
// and nothing is loaded before its hash was compared. Throws Error; see levit_open.
OpenedNetwork open_plan(const Bundle& bundle, std::uint32_t device,
                        const std::function<std::unique_ptr<TensorRt>()>& open_library);

}  // namespace levit

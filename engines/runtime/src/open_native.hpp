// Opens the network of a bundle on the kernels of engines/native.
#pragma once

#include <cstdint>

#include "bundle.hpp"
#include "network.hpp"

namespace levit {

// With the constants of its graph, in `threads`. Throws Error; see levit_open.
OpenedNetwork open_native(const Bundle& bundle, std::uint32_t threads);

}  // namespace levit

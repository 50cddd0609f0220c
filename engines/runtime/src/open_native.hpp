// Opens the network of a bundle on the kernels of engines/native.
#pragma once

#include <cstdint>
#include <string>

#include "bundle.hpp"
#include "network.hpp"

namespace levit {

// The best one that the kernels have on this CPU: "amx", "portable".
std::string native_instruction_set();

// With the constants of its graph, in `threads`. Throws Error; see levit_open.
OpenedNetwork open_native(const Bundle& bundle, std::uint32_t threads);

}  // namespace levit

// Whether inputs get through what a target is about.
#pragma once

#include <cstddef>

namespace levit_fuzz {

// How many inputs got to the end so far; a target adds one there.
inline std::size_t& reached() {
  static std::size_t count = 0;
  return count;
}

}  // namespace levit_fuzz

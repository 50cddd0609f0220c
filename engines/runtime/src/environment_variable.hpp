// Variables of the process that other libraries read.
#pragma once

#include <cstdlib>

namespace levit {

// Sets a variable that is not there, or empty. Reading comes first: where the program has set it,
// nothing is written that another thread may be reading.
inline void set_unless_set(const char* name, const char* value) {
  const char* const present = std::getenv(name);
  if (present == nullptr || *present == '\0') setenv(name, value, 1);
}

}  // namespace levit

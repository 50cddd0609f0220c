#include "tf32.hpp"

#include <cstdlib>
#include <cstring>
#include <string>

#include "error.hpp"
#include "text.hpp"

namespace levit {

void require_no_tf32() {
  const char* const value = std::getenv(tf32_variable);
  if (value == nullptr || *value == '\0' || std::strcmp(value, "0") == 0) return;
  throw Error(Status::environment, std::string(tf32_variable) + " is " + quoted(value) +
                                       ": with TF32 the GPU does not compute what the bundle "
                                       "promises; unset it, or set it to 0");
}

}  // namespace levit

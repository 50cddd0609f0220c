// The one exception of the runtime: a status that the C interface returns, and one line that says
// how to mend it.
#pragma once

#include <stdexcept>
#include <string>

namespace levit {

// Values are part of the ABI (levit.h). Exit codes of levit-run follow from them.
enum class Status : int {
  ok = 0,
  failed = 1,       // a check or the engine failed
  argument = 2,     // what the caller handed in contradicts itself or is out of range
  input = 3,        // a bundle or an image is not what it should be
  environment = 4,  // a library, provider or CPU feature is missing here
  memory = 5,
};

class Error : public std::runtime_error {
 public:
  Error(Status status, const std::string& message) : std::runtime_error(message), status_(status) {}
  Status status() const noexcept { return status_; }

 private:
  Status status_;
};

}  // namespace levit

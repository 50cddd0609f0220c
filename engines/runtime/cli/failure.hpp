// What ends levit-run: an exit code and one line.
#pragma once

#include <stdexcept>
#include <string>

namespace levit_run {

// 0 done, and these; the same as of all commands of levit-deploy.
enum class ExitCode : int { check_failed = 1, usage = 2, bad_input = 3, environment = 4 };

class Failure : public std::runtime_error {
 public:
  Failure(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ExitCode code() const noexcept { return code_; }

 private:
  ExitCode code_;
};

}  // namespace levit_run

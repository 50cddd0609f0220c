#include "nvidia_library.hpp"

#include <cstdlib>

#include "error.hpp"
#include "one_line.hpp"
#include "text.hpp"

namespace levit {

NvidiaLibrary::NvidiaLibrary(const char* file, const char* variable, const char* remedy) {
  std::string problem;
  // Who runs a program with more rights than its own must not choose what code is loaded into it.
  const char* const named = secure_getenv(variable);
  if (named != nullptr && *named != '\0') {
    // Without a slash the system's loader would look elsewhere than a reader expects.
    name_ = std::string(named).find('/') == std::string::npos ? "./" + std::string(named) : named;
    if (library_.open(name_, problem)) return;
    throw Error(Status::environment, "what " + std::string(variable) + " names cannot be loaded (" +
                                         printable(name_) + ": " + one_line(problem) + ")");
  }
  const std::string beside = own_folder() + "/" + file;
  name_ = beside;
  if (!real_path(beside).empty() && library_.open(beside, problem)) return;
  name_ = file;
  if (library_.open(name_, problem)) return;
  throw Error(Status::environment, std::string(file) + " cannot be loaded: " + remedy +
                                       ", or name it in " + variable + " (" + one_line(problem) +
                                       ")");
}

void* NvidiaLibrary::address_of(const char* name) const {
  void* const address = library_.symbol(name);
  if (address != nullptr) return address;
  throw Error(Status::environment,
              printable(name_) + ": has no " + name + ", so it is another library than expected");
}

}  // namespace levit

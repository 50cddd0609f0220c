// NVIDIA's libraries, opened while the program runs, so that it starts, and can say what is
// missing, without them.
#pragma once

#include <string>

#include "dynamic_library.hpp"

namespace levit {

class NvidiaLibrary {
 public:
  // Opens what the environment variable `variable` names, which must be usable, else `file` beside
  // liblevit, else what the system's loader finds by that name. Throws Error(environment) that says
  // what was tried, and `remedy`.
  NvidiaLibrary(const char* file, const char* variable, const char* remedy);

  // Sets `function` to the library's function `name`. Throws Error(environment) when it has none.
  template <typename Function>
  void find(const char* name, Function& function) const {
    function = reinterpret_cast<Function>(address_of(name));
  }

  // The same, but nullptr when it has none.
  template <typename Function>
  void find_optional(const char* name, Function& function) const {
    function = reinterpret_cast<Function>(library_.symbol(name));
  }

  // Absolute path of the file that a function was loaded from.
  template <typename Function>
  std::string path_of(Function* function) const {
    const std::string path = DynamicLibrary::path_of(reinterpret_cast<const void*>(function));
    return path.empty() ? name_ : path;
  }

 private:
  void* address_of(const char* name) const;

  DynamicLibrary library_;
  std::string name_;  // by which it was opened
};

}  // namespace levit

#include "dynamic_library.hpp"

#include <dlfcn.h>

#include <cstdlib>
#include <memory>

namespace levit {

bool DynamicLibrary::open(const std::string& name, std::string& problem) {
  // ONNX Runtime looks for its providers beside the path that it was opened by, so links are
  // followed first.
  const std::string file = name.find('/') == std::string::npos ? name : real_path(name);
  if (file.empty()) {
    problem = "no such file";
    return false;
  }
  handle_ = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle_ == nullptr) {
    const char* said = dlerror();
    problem = said == nullptr ? "the loader refuses it" : said;
  }
  return handle_ != nullptr;
}

void* DynamicLibrary::symbol(const char* name) const { return dlsym(handle_, name); }

std::string DynamicLibrary::path_of(const void* address) {
  Dl_info found{};
  return dladdr(address, &found) != 0 && found.dli_fname != nullptr ? real_path(found.dli_fname)
                                                                    : std::string();
}

std::string real_path(const std::string& path) {
  const std::unique_ptr<char, decltype(&std::free)> resolved(realpath(path.c_str(), nullptr),
                                                             &std::free);
  return resolved == nullptr ? std::string() : std::string(resolved.get());
}

std::string own_folder() {
  static const char here = 0;
  Dl_info found{};
  // Links are not followed here: whoever puts a link to this library beside an ONNX Runtime means
  // that one.
  if (dladdr(&here, &found) == 0 || found.dli_fname == nullptr) return {};
  const std::string path = found.dli_fname;
  const std::size_t slash = path.rfind('/');
  // Without one it is the name that the program was called by, which says nothing of where it lies.
  return slash == std::string::npos ? std::string() : path.substr(0, slash);
}

}  // namespace levit

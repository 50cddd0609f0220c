// Libraries that are opened while the program runs, so that it starts, and can say what is missing,
// without them.
#pragma once

#include <string>

namespace levit {

// An opened library. It is never closed: ONNX Runtime has threads and atexit handlers that outlive
// any owner.
class DynamicLibrary {
 public:
  // Opens `name`, a path or what the system's loader looks up; false, and the reason in `problem`,
  // when it cannot.
  bool open(const std::string& name, std::string& problem);

  // Address of a symbol, or nullptr.
  void* symbol(const char* name) const;

  // Absolute path of the file that `address` was loaded from, or "".
  static std::string path_of(const void* address);

 private:
  void* handle_ = nullptr;
};

// The path with links followed, or "" when there is no such file.
std::string real_path(const std::string& path);

// The folder in which the library of this very function lies, or "".
std::string own_folder();

}  // namespace levit

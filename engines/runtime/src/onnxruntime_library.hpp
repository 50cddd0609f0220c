// ONNX Runtime, opened while the program runs: one build of this library serves every release
// from 1.17 on.
#pragma once

#include <onnxruntime_c_api.h>

#include <string>

#include "error.hpp"

namespace levit {

// The oldest release that has all that is called here.
constexpr int oldest_onnxruntime_minor = 17;

// A library of ONNX Runtime that was loaded, and its environment. Lives until the process ends.
struct OnnxRuntime {
  const OrtApi* api = nullptr;
  OrtEnv* environment = nullptr;
  std::string version;  // "1.31.1"
  int minor_version = 0;
  std::string path;  // of the file

  // Throws Error(status), with what ONNX Runtime says behind `what`, unless `outcome` is success;
  // frees it.
  void require(OrtStatus* outcome, Status status, const std::string& what) const;

  // What `outcome` says, "" for success; frees it.
  std::string message(OrtStatus* outcome) const;
};

// The library at `path`; with "" LEVIT_ONNXRUNTIME, else the folder of liblevit, else the system's
// loader. Loaded once for each file, by whatever names. What was named must be usable: only where
// nothing was named is the next place tried. Throws Error(environment) that lists what was tried.
const OnnxRuntime& load_onnxruntime(const std::string& path);

// Whether there is a library where none is named, or LEVIT_ONNXRUNTIME names one, good or bad.
bool finds_onnxruntime();

}  // namespace levit

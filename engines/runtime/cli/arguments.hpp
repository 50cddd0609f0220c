// The command line of levit-run.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace levit_run {

struct Arguments {
  std::string bundle;
  std::vector<std::string> images;
  std::uint32_t top_k = 5;
  std::uint32_t threads = 1;
  std::string provider;  // "": the fastest on the CPU
  std::string onnxruntime;
  double benchmark_seconds = 0;
  bool json = false;
  bool self_test = false;
  bool skip_self_test = false;
  bool help = false;
  bool version = false;
};

// Throws Failure(2) that says what is wrong.
Arguments parse_arguments(const std::vector<std::string>& words);

extern const char* const help_text;

}  // namespace levit_run

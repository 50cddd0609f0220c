// What levit-run found, for people and as JSON.
#pragma once

#include <levit/levit.hpp>
#include <optional>
#include <string>
#include <vector>

#include "benchmark.hpp"

namespace levit_run {

struct Ranked {
  std::uint32_t class_index = 0;
  std::string name;
  double probability = 0;
};

struct ClassifiedImage {
  std::string file;
  std::vector<Ranked> top;
};

struct Report {
  std::string bundle;
  std::string engine;  // in the words of levit-classify: "onnxruntime"
  std::string device;  // "cpu" or "cuda:0"
  std::uint32_t threads = 1;
  std::vector<ClassifiedImage> images;
  std::optional<double> self_test_share;
  std::uint32_t golden_images = 0;
  std::optional<BenchmarkResult> benchmark;
};

std::string as_tables(const Report& report);
std::string as_json(const Report& report);

}  // namespace levit_run

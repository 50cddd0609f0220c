// How long an image takes, from its encoded bytes to its classes, one after the other.
#pragma once

#include <levit/levit.hpp>
#include <string>
#include <utility>
#include <vector>

#include "images.hpp"

namespace levit_run {

struct BenchmarkResult {
  std::size_t calls = 0;
  double seconds = 0;
  double mean_ms = 0;
  std::vector<std::pair<std::string, double>> percentiles_ms;
  levit_timings mean_stages{};
};

// Classifies the images in turn, after one untimed pass, until `seconds` have gone by and every
// image was timed. Throws levit::Exception.
BenchmarkResult run_benchmark(const levit::Classifier& classifier,
                              const std::vector<NamedImage>& images, std::uint32_t top_k,
                              double seconds);

}  // namespace levit_run

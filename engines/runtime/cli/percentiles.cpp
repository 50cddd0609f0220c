#include "percentiles.hpp"

#include <algorithm>
#include <cmath>

namespace levit_run {
namespace {

struct Percentile {
  const char* name;
  double share;
  std::size_t fewest_samples;  // of levit_benchmarks.bench.statistics.fewest_samples
};

constexpr Percentile known[] = {
    {"p50", 0.5, 11}, {"p90", 0.9, 64}, {"p99", 0.99, 662}, {"p99.9", 0.999, 6636}};

}  // namespace

std::vector<std::pair<std::string, double>> percentiles_of(std::vector<double> samples) {
  std::sort(samples.begin(), samples.end());
  std::vector<std::pair<std::string, double>> carried;
  for (const Percentile& percentile : known) {
    if (samples.size() < percentile.fewest_samples) break;
    const double rank = std::ceil(percentile.share * static_cast<double>(samples.size()));
    carried.emplace_back(percentile.name, samples[static_cast<std::size_t>(rank) - 1]);
  }
  return carried;
}

}  // namespace levit_run

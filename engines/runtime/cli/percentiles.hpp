// Percentiles, and how many samples carry them.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace levit_run {

// Those of p50, p90, p99 and p99.9 that the number of samples carries: 11, 64, 662, 6636. With so
// many, two at least are above the true percentile, with 99 % confidence; the rule of levit-bench
// and of MLPerf. Name and value (one of the samples, by nearest rank), in order.
std::vector<std::pair<std::string, double>> percentiles_of(std::vector<double> samples);

}  // namespace levit_run

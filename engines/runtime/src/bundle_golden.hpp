// The two members of a bundle that have a format of their own.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "bundle.hpp"

namespace levit {

// One class name a line, UTF-8, without white space at its ends. Throws Error(input).
std::vector<std::string> parse_labels(std::string_view content);

// The tensors `images` and `logits` and the names of a golden set. Throws Error(input) when types
// or shapes are others than (count, side, side, 3) uint8 and (count, classes) float64.
Golden parse_golden(const std::vector<std::uint8_t>& content, int count, int side, int classes);

}  // namespace levit

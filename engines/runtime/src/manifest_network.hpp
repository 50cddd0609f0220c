// The field `network` of manifest.json: which of the five LeViT variants, for how many classes and
// pixels.
#pragma once

#include <string>

#include "json.hpp"
#include "manifest.hpp"

namespace levit {

struct NetworkFields {
  std::string arch;
  Architecture architecture;
  int num_classes = 0;
  int image_size = 0;
};

// Throws Error(input) when a field is missing or contradicts the variant that `arch` names.
NetworkFields read_network(const JsonValue& document);

}  // namespace levit

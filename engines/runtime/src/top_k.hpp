// From logits to the best classes.
#pragma once

#include <levit/levit.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace levit {

// The `top_k` best of `classes` logits, best first, the lower index first where two are equal;
// probabilities are the softmax, in float64. `order` is working memory that is used again. Throws
// Error(failed) unless all are finite.
void best_classes(const float* logits, std::size_t classes, std::size_t top_k,
                  std::vector<std::uint32_t>& order, levit_guess* guesses);

}  // namespace levit

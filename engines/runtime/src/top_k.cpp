#include "top_k.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "error.hpp"

namespace levit {

void best_classes(const float* logits, std::size_t classes, std::size_t top_k,
                  std::vector<std::uint32_t>& order, levit_guess* guesses) {
  if (!std::all_of(logits, logits + classes, [](float logit) { return std::isfinite(logit); })) {
    throw Error(Status::failed, "the logits are not finite; export the bundle again");
  }
  order.resize(classes);
  std::iota(order.begin(), order.end(), 0U);
  const auto better = [logits](std::uint32_t one, std::uint32_t other) {
    return logits[one] > logits[other] || (logits[one] == logits[other] && one < other);
  };
  const auto end = order.begin() + static_cast<std::ptrdiff_t>(std::min(top_k, classes));
  std::partial_sort(order.begin(), end, order.end(), better);
  if (end == order.begin()) return;
  const double largest = logits[order.front()];
  double sum = 0;
  for (std::size_t index = 0; index < classes; ++index) sum += std::exp(logits[index] - largest);
  for (auto place = order.begin(); place != end; ++place, ++guesses) {
    *guesses = {*place, logits[*place], std::exp(logits[*place] - largest) / sum};
  }
}

}  // namespace levit

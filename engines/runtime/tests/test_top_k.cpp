#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "error.hpp"
#include "top_k.hpp"

namespace {

std::vector<levit_guess> best(const std::vector<float>& logits, std::size_t top_k) {
  std::vector<levit_guess> guesses(top_k);
  std::vector<std::uint32_t> order;
  levit::best_classes(logits.data(), logits.size(), top_k, order, guesses.data());
  return guesses;
}

}  // namespace

TEST_CASE("the best classes come first, with their softmax") {
  const auto guesses = best({0.0F, 2.0F, 1.0F}, 3);
  CHECK(guesses[0].class_index == 1);
  CHECK(guesses[1].class_index == 2);
  CHECK(guesses[2].class_index == 0);
  const double sum = 1 + std::exp(1.0) + std::exp(2.0);
  CHECK(guesses[0].probability == doctest::Approx(std::exp(2.0) / sum).epsilon(1e-14));
  CHECK(guesses[0].logit == 2.0F);
}

TEST_CASE("of equal classes the lower index comes first") {
  const auto guesses = best({1.0F, 1.0F, 1.0F, 1.0F}, 3);
  for (std::size_t rank = 0; rank < 3; ++rank) CHECK(guesses[rank].class_index == rank);
}

TEST_CASE("large logits do not overflow") {
  const auto guesses = best({1e30F, -1e30F}, 2);
  CHECK(guesses[0].probability == 1.0);
  CHECK(guesses[1].probability == 0.0);
}

TEST_CASE("no classes may be asked for") { CHECK(best({1.0F, 2.0F}, 0).empty()); }

TEST_CASE("logits that are not finite are refused") {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    CHECK_THROWS_AS(best({0.0F, bad}, 1), levit::Error);
  }
}

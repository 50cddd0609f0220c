#include "benchmark.hpp"

#include <chrono>

#include "percentiles.hpp"

namespace levit_run {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Runs one image at a time into memory that is used again, as a device does.
class Call {
 public:
  Call(const levit::Classifier& classifier, std::uint32_t top_k)
      : classifier_(classifier), guesses_(top_k) {
    result_.struct_size = sizeof result_;
    result_.top_k = top_k;
    result_.guesses = guesses_.data();
  }

  const levit_timings& operator()(const NamedImage& image, std::size_t index) {
    const levit_encoded encoded{image.content.data(), image.content.size()};
    const levit_status status = levit_run_encoded(classifier_.handle(), &encoded, 1, &result_);
    if (status != LEVIT_OK) throw levit::Exception(status, levit_last_error(), index);
    return result_.timings;
  }

 private:
  const levit::Classifier& classifier_;
  std::vector<levit_guess> guesses_;
  levit_result result_{};
};

void add(levit_timings& total, const levit_timings& one, double weight) {
  total.decode_ms += weight * one.decode_ms;
  total.resize_ms += weight * one.resize_ms;
  total.normalize_ms += weight * one.normalize_ms;
  total.inference_ms += weight * one.inference_ms;
  total.rank_ms += weight * one.rank_ms;
}

}  // namespace

BenchmarkResult run_benchmark(const levit::Classifier& classifier,
                              const std::vector<NamedImage>& images, std::uint32_t top_k,
                              double seconds) {
  Call call(classifier, std::min(top_k, classifier.info().classes));
  for (std::size_t index = 0; index < images.size(); ++index) call(images[index], index);

  std::vector<double> samples_ms;
  levit_timings total{};
  const Clock::time_point begin = Clock::now();
  while (samples_ms.size() < images.size() || seconds_since(begin) < seconds) {
    const std::size_t index = samples_ms.size() % images.size();
    const Clock::time_point start = Clock::now();
    const levit_timings& stages = call(images[index], index);
    samples_ms.push_back(1e3 * seconds_since(start));
    add(total, stages, 1);
  }

  BenchmarkResult result;
  result.seconds = seconds_since(begin);
  result.calls = samples_ms.size();
  const double share = 1 / static_cast<double>(result.calls);
  for (const double sample : samples_ms) result.mean_ms += share * sample;
  result.percentiles_ms = percentiles_of(std::move(samples_ms));
  add(result.mean_stages, total, share);
  return result;
}

}  // namespace levit_run

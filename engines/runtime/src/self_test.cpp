#include "self_test.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <vector>

#include "error.hpp"
#include "preprocess.hpp"

namespace levit {
namespace {

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}

// The share of `tolerance` that an error uses up; infinite for what is not a number.
double share_of(double error, double tolerance) {
  if (error <= tolerance) return tolerance > 0 ? error / tolerance : 0;
  return std::isfinite(error) && tolerance > 0 ? error / tolerance
                                               : std::numeric_limits<double>::infinity();
}

// The network's input for some of the golden images, in the layout of the manifest.
class GoldenInput {
 public:
  GoldenInput(const Bundle& bundle, const Golden& golden)
      : golden_(golden),
        preprocessor_(bundle.manifest().preprocessing),
        takes_pixels_(bundle.manifest().input.dtype == "uint8"),
        values_(static_cast<std::size_t>(golden.side) * static_cast<std::size_t>(golden.side) * 3) {
  }

  // `count` images from `first` on, the last one again where there are fewer.
  const void* batch(int first, int count) {
    const auto images = static_cast<std::size_t>(count);
    pixels_.resize(images * values_);
    planes_.resize(takes_pixels_ ? 0 : images * values_);
    for (std::size_t slot = 0; slot < images; ++slot) {
      const std::size_t index = std::min<std::size_t>(static_cast<std::size_t>(first) + slot,
                                                      static_cast<std::size_t>(golden_.count) - 1);
      const std::uint8_t* source = golden_.images.data() + index * values_;
      if (takes_pixels_) {
        std::memcpy(pixels_.data() + slot * values_, source, values_);
      } else {
        preprocessor_.normalize(source, planes_.data() + slot * values_);
      }
    }
    return takes_pixels_ ? static_cast<const void*>(pixels_.data()) : planes_.data();
  }

 private:
  const Golden& golden_;
  Preprocessor preprocessor_;
  bool takes_pixels_;
  std::size_t values_;
  std::vector<std::uint8_t> pixels_;
  std::vector<float> planes_;
};

// Compares the logits of golden image `image`; its share of the tolerance. Throws Error(failed).
double compare(const Bundle& bundle, const Golden& golden, int image, int batch,
               const float* logits) {
  const auto classes = static_cast<std::size_t>(bundle.manifest().num_classes);
  const auto index = static_cast<std::size_t>(image);
  const double tolerance = bundle.manifest().golden_tolerance[index];
  const double* truth = golden.logits.data() + index * classes;
  double worst = 0;
  std::size_t worst_class = 0;
  for (std::size_t place = 0; place < classes; ++place) {
    const double share =
        share_of(std::fabs(static_cast<double>(logits[place]) - truth[place]), tolerance);
    if (!(share <= worst)) {
      worst = share;
      worst_class = place;
    }
  }
  if (worst <= 1) return worst;
  const double found = static_cast<double>(logits[worst_class]);
  throw Error(Status::failed, bundle.path() + ": self-test failed: golden image " +
                                  golden.names[index] + " at batch " + std::to_string(batch) +
                                  ": logit of class " + std::to_string(worst_class) + " is " +
                                  number(found) + ", float64 gives " + number(truth[worst_class]) +
                                  ": off by " + number(std::fabs(found - truth[worst_class])) +
                                  ", rounding explains " + number(tolerance));
}

}  // namespace

SelfTestReport self_test(const Bundle& bundle, const Network& network, int batch) {
  const Golden golden = bundle.golden();
  if (golden.count == 0) {
    throw Error(Status::input,
                bundle.path() + ": it has no golden images to test itself with; export it again");
  }
  const auto classes = static_cast<std::size_t>(bundle.manifest().num_classes);
  GoldenInput input(bundle, golden);
  std::vector<float> logits(static_cast<std::size_t>(batch) * classes);
  SelfTestReport report;
  for (int first = 0; first < golden.count; first += batch) {
    network.run(input.batch(first, batch), static_cast<std::size_t>(batch), logits.data());
    for (int image = first; image < std::min(first + batch, golden.count); ++image) {
      const float* row = logits.data() + static_cast<std::size_t>(image - first) * classes;
      report.share = std::max(report.share, compare(bundle, golden, image, batch, row));
      ++report.images;
    }
  }
  return report;
}

}  // namespace levit

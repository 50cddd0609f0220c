#include "bundle_classifier.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "decode.hpp"
#include "error.hpp"
#include "open_native.hpp"
#include "open_onnxruntime.hpp"
#include "open_plan.hpp"
#include "provider_choice.hpp"
#include "stopwatch.hpp"
#include "tensorrt.hpp"
#include "text.hpp"
#include "top_k.hpp"

namespace levit {
namespace {

constexpr std::size_t largest_group = 16;  // as levit-classify

// `pixels` as the preprocessing takes them, which looks at all else. Throws Error(input).
PixelView view_of(const levit_pixels& pixels) {
  if (pixels.width > max_pixels || pixels.height > max_pixels) {
    throw Error(Status::input, std::to_string(pixels.width) + " x " +
                                   std::to_string(pixels.height) + " pixels exceed the limit of " +
                                   std::to_string(max_pixels) + ": shrink the image");
  }
  return {pixels.data, static_cast<int>(pixels.width), static_cast<int>(pixels.height),
          pixels.stride, pixels.bgr != 0};
}

// What was asked for, or the fastest on the CPU.
levit_provider provider_for(const Manifest& manifest, const ClassifierOptions& options) {
  const levit_provider asked = options.session.provider;
  const bool names_library = !options.onnxruntime_library.empty();
  if (names_library && (asked == LEVIT_PROVIDER_NATIVE || asked == LEVIT_PROVIDER_TENSORRT_PLAN)) {
    throw Error(Status::argument,
                "a library of ONNX Runtime is named (" + options.onnxruntime_library +
                    "), which the provider does not use: choose another or leave it out");
  }
  if (asked != LEVIT_PROVIDER_FASTEST) return asked;
  if (names_library) return LEVIT_PROVIDER_CPU;
  return fastest_provider(manifest, native_instruction_set(), finds_onnxruntime);
}

// On the provider that was asked for, or not at all.
OpenedNetwork open_network(const Bundle& bundle, const ClassifierOptions& options) {
  SessionSettings settings = options.session;
  settings.provider = provider_for(bundle.manifest(), options);
  if (settings.provider == LEVIT_PROVIDER_TENSORRT_PLAN) {
    return open_plan(bundle, settings.device, open_tensorrt);
  }
  if (settings.provider == LEVIT_PROVIDER_NATIVE) return open_native(bundle, settings.threads);
  return open_onnxruntime(bundle, settings, options.onnxruntime_library, options.use_built_graph);
}

std::size_t values_of_image(const Manifest& manifest) {
  const auto side = static_cast<std::size_t>(manifest.preprocessing.image_size);
  return side * side * 3;
}

}  // namespace

BundleClassifier::BundleClassifier(const std::string& path, const ClassifierOptions& options)
    : bundle_(path),
      takes_pixels_(manifest().input.dtype == "uint8"),
      image_values_(values_of_image(manifest())),
      labels_(bundle_.labels()),
      opened_(open_network(bundle_, options)),
      pool_(manifest().preprocessing) {
  if (options.self_test) {
    self_tested_ = self_test(bundle_, *opened_.network, opened_.batches.minimum);
  }
}

SelfTestReport BundleClassifier::test_again() const {
  SelfTestReport report;
  for (const int batch : opened_.batches.verified) {
    const SelfTestReport found = self_test(bundle_, *opened_.network, batch);
    report.images = found.images;
    report.share = std::max(report.share, found.share);
  }
  return report;
}

void BundleClassifier::run(const levit_encoded* images, Request& request) const {
  run_from([&](Workspace& workspace, std::size_t index, levit_timings& timings,
               std::uint8_t* rgb) { resize(images[index], workspace, timings, rgb); },
           request);
}

void BundleClassifier::run(const levit_pixels* images, Request& request) const {
  run_from([&](Workspace& workspace, std::size_t index, levit_timings& timings,
               std::uint8_t* rgb) { resize(images[index], workspace, timings, rgb); },
           request);
}

void BundleClassifier::run_tensor(const void* tensor, Request& request) const {
  if (!takes_pixels_) {
    const auto* values = static_cast<const float*>(tensor);
    if (!std::all_of(values, values + request.count * image_values_,
                     [](float value) { return std::isfinite(value); })) {
      throw Error(Status::input, "images hold NaN or infinity: look at the preprocessing");
    }
  }
  const WorkspacePool::Lease lease(pool_);
  const std::size_t image_bytes = image_values_ * (takes_pixels_ ? 1 : sizeof(float));
  for (std::size_t first = 0; first < request.count; first += group_size()) {
    const std::size_t count = std::min(group_size(), request.count - first);
    const std::size_t padded = std::max(count, smallest_batch());
    const void* group = static_cast<const std::uint8_t*>(tensor) + first * image_bytes;
    if (padded != count) group = pad(group, *lease, count);
    infer(group, padded, *lease, request);
    rank(*lease, first, count, request);
  }
}

void BundleClassifier::preprocess(const levit_encoded& image, std::uint8_t* rgb) const {
  const WorkspacePool::Lease lease(pool_);
  levit_timings timings{};
  resize(image, *lease, timings, rgb);
}

void BundleClassifier::preprocess(const levit_pixels& image, std::uint8_t* rgb) const {
  const WorkspacePool::Lease lease(pool_);
  levit_timings timings{};
  resize(image, *lease, timings, rgb);
}

void BundleClassifier::run_from(const Source& source, Request& request) const {
  const WorkspacePool::Lease lease(pool_);
  for (std::size_t first = 0; first < request.count; first += group_size()) {
    const std::size_t count = std::min(group_size(), request.count - first);
    const std::size_t padded = std::max(count, smallest_batch());
    infer(fill(source, *lease, first, count, request), padded, *lease, request);
    rank(*lease, first, count, request);
  }
}

// The network's input for `count` images from `first` on, filled up with the last one to a batch
// that the graph takes.
const void* BundleClassifier::fill(const Source& source, Workspace& workspace, std::size_t first,
                                   std::size_t count, Request& request) const {
  const std::size_t padded = std::max(count, smallest_batch());
  workspace.pixels.resize(
      std::max(workspace.pixels.size(), (takes_pixels_ ? padded : 1) * image_values_));
  if (!takes_pixels_)
    workspace.planes.resize(std::max(workspace.planes.size(), padded * image_values_));
  for (std::size_t slot = 0; slot < count; ++slot) {
    request.failed_image = first + slot;
    std::uint8_t* rgb = workspace.pixels.data() + (takes_pixels_ ? slot * image_values_ : 0);
    source(workspace, first + slot, request.timings, rgb);
    if (takes_pixels_) continue;
    const Stopwatch watch(request.timings.normalize_ms);
    workspace.preprocessor.normalize(rgb, workspace.planes.data() + slot * image_values_);
  }
  request.failed_image = SIZE_MAX;
  const void* filled =
      takes_pixels_ ? static_cast<const void*>(workspace.pixels.data()) : workspace.planes.data();
  return padded == count ? filled : pad(filled, workspace, count);
}

// Copies of `count` images, the last one repeated up to the smallest batch that the graph takes.
const void* BundleClassifier::pad(const void* tensor, Workspace& workspace,
                                  std::size_t count) const {
  const auto padded = smallest_batch();
  const std::size_t image_bytes = image_values_ * (takes_pixels_ ? 1 : sizeof(float));
  std::uint8_t* target = nullptr;
  if (takes_pixels_) {
    workspace.pixels.resize(std::max(workspace.pixels.size(), padded * image_values_));
    target = workspace.pixels.data();
  } else {
    workspace.planes.resize(std::max(workspace.planes.size(), padded * image_values_));
    target = reinterpret_cast<std::uint8_t*>(workspace.planes.data());
  }
  if (target != tensor) std::memcpy(target, tensor, count * image_bytes);
  for (std::size_t slot = count; slot < padded; ++slot) {
    std::memcpy(target + slot * image_bytes, target + (count - 1) * image_bytes, image_bytes);
  }
  return target;
}

void BundleClassifier::infer(const void* tensor, std::size_t padded, Workspace& workspace,
                             Request& request) const {
  workspace.logits.resize(std::max(workspace.logits.size(), padded * classes()));
  const Stopwatch watch(request.timings.inference_ms);
  opened_.network->run(tensor, padded, workspace.logits.data());
}

void BundleClassifier::rank(Workspace& workspace, std::size_t first, std::size_t count,
                            Request& request) const {
  const Stopwatch watch(request.timings.rank_ms);
  for (std::size_t slot = 0; slot < count; ++slot) {
    request.failed_image = first + slot;
    const float* logits = workspace.logits.data() + slot * classes();
    levit_guess* guesses =
        request.guesses == nullptr ? nullptr : request.guesses + (first + slot) * request.top_k;
    best_classes(logits, classes(), guesses == nullptr ? 0 : request.top_k, workspace.order,
                 guesses);
    if (request.logits != nullptr)
      std::copy(logits, logits + classes(), request.logits + (first + slot) * classes());
  }
  request.failed_image = SIZE_MAX;
}

void BundleClassifier::resize(const levit_encoded& image, Workspace& workspace,
                              levit_timings& timings, std::uint8_t* rgb) const {
  {
    const Stopwatch watch(timings.decode_ms);
    if (image.data == nullptr && image.size != 0)
      throw Error(Status::argument, "the image is a null pointer");
    decode_image(image.data, image.size, workspace.image,
                 manifest().preprocessing.apply_exif_orientation);
  }
  const Stopwatch watch(timings.resize_ms);
  const Image& decoded = workspace.image;
  const std::ptrdiff_t stride = static_cast<std::ptrdiff_t>(decoded.width) * 3;
  workspace.preprocessor.resize({decoded.rgb.data(), decoded.width, decoded.height, stride, false},
                                rgb);
}

void BundleClassifier::resize(const levit_pixels& image, Workspace& workspace,
                              levit_timings& timings, std::uint8_t* rgb) const {
  const Stopwatch watch(timings.resize_ms);
  workspace.preprocessor.resize(view_of(image), rgb);
}

std::size_t BundleClassifier::group_size() const {
  return std::min(std::max(smallest_batch(), largest_group),
                  static_cast<std::size_t>(opened_.batches.maximum));
}

}  // namespace levit

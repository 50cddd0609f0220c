#include <levit/levit.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include "bundle_classifier.hpp"
#include "c_api_support.hpp"
#include "utf8.hpp"

struct levit_classifier {
  levit_classifier(const char* bundle, const levit::ClassifierOptions& options)
      : classifier(bundle, options) {}

  levit::BundleClassifier classifier;
};

namespace {

using levit::BundleClassifier;
using levit::Error;
using levit::Request;
using levit::Status;

// What the structs ended with when they were first published.
constexpr std::size_t smallest_options =
    offsetof(levit_options, onnxruntime_library) + sizeof(const char*);
constexpr std::size_t smallest_info = offsetof(levit_info, golden_share) + sizeof(double);
constexpr std::size_t smallest_result = offsetof(levit_result, failed_image) + sizeof(std::size_t);

// These lie in arrays or in the middle of other structs, so they can never grow.
static_assert(sizeof(levit_timings) == 5 * sizeof(double));
static_assert(sizeof(levit_guess) == 16);
static_assert(offsetof(levit_result, failed_image) ==
              offsetof(levit_result, timings) + sizeof(levit_timings));

constexpr std::uint32_t most_threads = 1024;

thread_local char last_error[1024] = "";

levit_options default_options() {
  levit_options options{};
  options.struct_size = sizeof options;
  options.provider = LEVIT_PROVIDER_FASTEST;
  options.threads = 1;
  options.self_test = 1;
  options.use_built_graph = 1;
  return options;
}

levit::ClassifierOptions options_from(const levit_options* given) {
  const levit_options known =
      levit::struct_from(given, default_options(), smallest_options, "levit_options");
  if (known.threads < 1 || known.threads > most_threads) {
    throw Error(Status::argument, "threads " + std::to_string(known.threads) +
                                      " must be from 1 to " + std::to_string(most_threads));
  }
  levit::ClassifierOptions options;
  options.session = {known.provider, known.device, known.threads};
  options.self_test = known.self_test != 0;
  options.use_built_graph = known.use_built_graph != 0;
  if (known.onnxruntime_library != nullptr) options.onnxruntime_library = known.onnxruntime_library;
  return options;
}

const BundleClassifier& classifier_from(const levit_classifier* classifier) {
  if (classifier == nullptr) throw Error(Status::argument, "the classifier is a null pointer");
  return classifier->classifier;
}

void require(bool holds, const char* message) {
  if (!holds) throw Error(Status::argument, message);
}

// Runs `call` with a request made from `result`, and writes back what it found, also when it fails.
template <typename Call>
levit_status run(const levit_classifier* handle, const void* images, std::size_t count,
                 levit_result* result, Call&& call) noexcept {
  return levit::guarded([&] {
    const BundleClassifier& classifier = classifier_from(handle);
    require(result != nullptr, "the result is a null pointer");
    levit_result known =
        levit::struct_from(result, levit_result{}, smallest_result, "levit_result");
    known.timings = {};
    known.failed_image = SIZE_MAX;
    levit::struct_to(result, known);
    require(images != nullptr || count == 0, "the images are a null pointer");
    const auto classes = static_cast<std::uint32_t>(classifier.manifest().num_classes);
    if (known.guesses != nullptr && known.top_k > classes) {
      throw Error(Status::argument, "top_k " + std::to_string(known.top_k) + " exceeds the " +
                                        std::to_string(classes) + " classes");
    }
    Request request{count, known.top_k, known.guesses, known.logits, {}, SIZE_MAX};
    try {
      call(classifier, request);
    } catch (...) {
      known.failed_image = request.failed_image;
      levit::struct_to(result, known);
      throw;
    }
    known.timings = request.timings;
    levit::struct_to(result, known);
  });
}

template <typename Image>
levit_status preprocess(const levit_classifier* handle, const Image* image, uint8_t* rgb,
                        size_t size_bytes) noexcept {
  return levit::guarded([&] {
    const BundleClassifier& classifier = classifier_from(handle);
    require(image != nullptr && rgb != nullptr,
            "the image or the memory for its pixels is a null pointer");
    if (size_bytes != classifier.image_values()) {
      throw Error(Status::argument, "the memory for the pixels has " + std::to_string(size_bytes) +
                                        " bytes, needed are " +
                                        std::to_string(classifier.image_values()));
    }
    classifier.preprocess(*image, rgb);
  });
}

levit_info info_of(const BundleClassifier& classifier) {
  const levit::Manifest& manifest = classifier.manifest();
  const levit::OpenedNetwork& opened = classifier.opened();
  levit_info info{};
  info.name = manifest.name.c_str();
  info.arch = manifest.arch.c_str();
  info.precision = manifest.precision.c_str();
  info.weights_origin = manifest.weights_origin.c_str();
  info.provider = opened.provider.c_str();
  info.graph = opened.graph.c_str();
  info.note = opened.note.c_str();
  info.onnxruntime_version = opened.onnxruntime_version.c_str();
  info.onnxruntime_library = opened.onnxruntime_library.c_str();
  info.image_size = static_cast<uint32_t>(manifest.preprocessing.image_size);
  info.classes = static_cast<uint32_t>(manifest.num_classes);
  info.batch_minimum = static_cast<uint32_t>(opened.batches.minimum);
  info.batch_maximum = static_cast<uint32_t>(opened.batches.maximum);
  info.takes_pixels = classifier.takes_pixels() ? 1 : 0;
  info.golden_images = static_cast<uint32_t>(classifier.self_tested().images);
  info.golden_share = classifier.self_tested().share;
  info.tensorrt_version = opened.tensorrt_version.c_str();
  info.tensorrt_library = opened.tensorrt_library.c_str();
  info.instruction_set = opened.instruction_set.c_str();
  return info;
}

}  // namespace

void levit::remember_error(const char* message) noexcept {
  // One line, and no half character at its end. Nothing is allocated: memory may be what is
  // missing.
  std::string_view rest = message;
  std::size_t length = 0;
  while (!rest.empty()) {
    const Character found = first_character(rest);
    if (length + found.length >= sizeof last_error) break;
    if (found.valid && !is_control(found.code)) {
      std::memcpy(last_error + length, rest.data(), found.length);
      length += found.length;
    } else {
      last_error[length++] = '?';
    }
    rest.remove_prefix(found.length);
  }
  last_error[length] = '\0';
}

extern "C" {

uint32_t levit_abi_version(void) { return LEVIT_ABI_VERSION; }

const char* levit_version(void) { return LEVIT_VERSION; }

const char* levit_last_error(void) { return last_error; }

void levit_options_init(levit_options* options, size_t struct_size) {
  if (options == nullptr || struct_size < sizeof options->struct_size) return;
  std::memset(options, 0, struct_size);
  options->struct_size = struct_size;
  levit::struct_to(options, default_options());
}

levit_status levit_open(const char* bundle, const levit_options* options,
                        levit_classifier** classifier) {
  if (classifier != nullptr) *classifier = nullptr;
  return levit::guarded([&] {
    require(classifier != nullptr, "the place for the classifier is a null pointer");
    require(bundle != nullptr && *bundle != '\0', "the bundle's path is empty");
    const levit::ClassifierOptions known = options_from(options);
    *classifier = std::make_unique<levit_classifier>(bundle, known).release();
  });
}

void levit_close(levit_classifier* classifier) { delete classifier; }

levit_status levit_get_info(const levit_classifier* classifier, levit_info* info) {
  return levit::guarded([&] {
    require(info != nullptr, "the info is a null pointer");
    levit::require_size(info->struct_size, smallest_info, "levit_info");
    levit::struct_to(info, info_of(classifier_from(classifier)));
  });
}

const char* levit_label(const levit_classifier* classifier, uint32_t class_index) {
  if (classifier == nullptr) return nullptr;
  const std::vector<std::string>& labels = classifier->classifier.labels();
  return class_index < labels.size() ? labels[class_index].c_str() : nullptr;
}

levit_status levit_self_test(const levit_classifier* classifier, uint32_t* images, double* share) {
  return levit::guarded([&] {
    const levit::SelfTestReport report = classifier_from(classifier).test_again();
    if (images != nullptr) *images = static_cast<uint32_t>(report.images);
    if (share != nullptr) *share = report.share;
  });
}

levit_status levit_run_encoded(const levit_classifier* classifier, const levit_encoded* images,
                               size_t count, levit_result* result) {
  return run(
      classifier, images, count, result,
      [&](const BundleClassifier& opened, Request& request) { opened.run(images, request); });
}

levit_status levit_run_pixels(const levit_classifier* classifier, const levit_pixels* images,
                              size_t count, levit_result* result) {
  return run(
      classifier, images, count, result,
      [&](const BundleClassifier& opened, Request& request) { opened.run(images, request); });
}

levit_status levit_run_tensor(const levit_classifier* classifier, const void* tensor,
                              size_t size_bytes, size_t count, levit_result* result) {
  return run(
      classifier, tensor, count, result, [&](const BundleClassifier& opened, Request& request) {
        const std::size_t image_bytes =
            opened.image_values() * (opened.takes_pixels() ? 1 : sizeof(float));
        if (size_bytes / image_bytes != count || size_bytes % image_bytes != 0) {
          throw Error(Status::argument, "the tensor has " + std::to_string(size_bytes) +
                                            " bytes, " + std::to_string(count) + " images of " +
                                            std::to_string(image_bytes) + " were announced");
        }
        opened.run_tensor(tensor, request);
      });
}

levit_status levit_preprocess_encoded(const levit_classifier* classifier,
                                      const levit_encoded* image, uint8_t* rgb, size_t size_bytes) {
  return preprocess(classifier, image, rgb, size_bytes);
}

levit_status levit_preprocess_pixels(const levit_classifier* classifier, const levit_pixels* image,
                                     uint8_t* rgb, size_t size_bytes) {
  return preprocess(classifier, image, rgb, size_bytes);
}

}  // extern "C"

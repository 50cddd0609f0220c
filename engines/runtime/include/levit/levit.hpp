// The LeViT edge runtime in C++17: RAII and exceptions over levit.h, nothing else; header-only.
//
//     levit::Classifier classifier("levit-384-fp32");
//     const levit::Result result = classifier.classify_file("photo.jpg");
//     std::cout << classifier.label(result.guesses.front().class_index) << '\n';
//
// On a GPU, with the plan of TensorRT that levit-build put into the bundle:
//
//     levit::Options options;
//     options.provider = LEVIT_PROVIDER_TENSORRT_PLAN;
//     levit::Classifier classifier("levit-384-fp32", options);
//
// One classifier may be used from any number of threads at once: they share the network and nothing
// else.
#pragma once

#include <levit/levit.h>

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace levit {

// What levit.h reports as a status.
class Exception : public std::runtime_error {
 public:
  Exception(levit_status status, const std::string& message, std::size_t image = no_image)
      : std::runtime_error(message), status_(status), image_(image) {}

  static constexpr std::size_t no_image = std::numeric_limits<std::size_t>::max();

  levit_status status() const noexcept { return status_; }
  std::size_t image() const noexcept { return image_; }  // the one at fault, or no_image

 private:
  levit_status status_;
  std::size_t image_;
};

// The options of levit.h with their defaults.
struct Options : levit_options {
  Options() : levit_options() { levit_options_init(this, sizeof(levit_options)); }
};

using Guess = levit_guess;
using Timings = levit_timings;

// `guesses` holds `top_k` for each image, best first; `logits` all of them for each image, where
// they were asked for.
struct Result {
  std::vector<Guess> guesses;
  std::vector<float> logits;
  Timings timings{};
};

class Classifier {
 public:
  // Opens a bundle; unless the options say otherwise, only after it has reproduced its golden
  // images.
  explicit Classifier(const std::string& bundle, const Options& options = Options()) {
    levit_classifier* opened = nullptr;
    require(levit_open(bundle.c_str(), &options, &opened));
    handle_.reset(opened);
  }

  levit_info info() const {
    levit_info info{};
    info.struct_size = sizeof info;
    require(levit_get_info(handle_.get(), &info));
    return info;
  }

  // Empty when there is no such class.
  std::string label(std::uint32_t class_index) const {
    const char* name = levit_label(handle_.get(), class_index);
    return name == nullptr ? std::string() : std::string(name);
  }

  // Replays the golden images at every batch size that the bundle verified: the largest error, as a
  // share of what rounding explains, and in `images` how many there are.
  double self_test(std::uint32_t* images = nullptr) const {
    double share = 0;
    require(levit_self_test(handle_.get(), images, &share));
    return share;
  }

  Result classify(const std::vector<levit_encoded>& images, std::uint32_t top_k = 5,
                  bool logits = false) const {
    return run(images.size(), top_k, logits, [&](levit_result* result) {
      return levit_run_encoded(handle_.get(), images.data(), images.size(), result);
    });
  }

  Result classify(const std::vector<levit_pixels>& images, std::uint32_t top_k = 5,
                  bool logits = false) const {
    return run(images.size(), top_k, logits, [&](levit_result* result) {
      return levit_run_pixels(handle_.get(), images.data(), images.size(), result);
    });
  }

  Result classify_encoded(const void* data, std::size_t size, std::uint32_t top_k = 5) const {
    return classify(std::vector<levit_encoded>{{static_cast<const std::uint8_t*>(data), size}},
                    top_k);
  }

  Result classify_file(const std::string& path, std::uint32_t top_k = 5) const {
    const std::vector<char> content = read(path);
    return classify_encoded(content.data(), content.size(), top_k);
  }

  // `tensor` is float32 (count, 3, side, side), or uint8 (count, side, side, 3) where
  // info().takes_pixels.
  Result classify_tensor(const void* tensor, std::size_t size_bytes, std::size_t count,
                         std::uint32_t top_k = 5, bool logits = false) const {
    return run(count, top_k, logits, [&](levit_result* result) {
      return levit_run_tensor(handle_.get(), tensor, size_bytes, count, result);
    });
  }

  // For what is not wrapped here, as running into buffers that are used again.
  const levit_classifier* handle() const noexcept { return handle_.get(); }

 private:
  struct Close {
    void operator()(levit_classifier* classifier) const noexcept { levit_close(classifier); }
  };

  static std::vector<char> read(const std::string& path) try {
    std::ifstream file(path, std::ios::binary);
    std::vector<char> content{std::istreambuf_iterator<char>(file),
                              std::istreambuf_iterator<char>()};
    if (!file) throw Exception(LEVIT_INPUT, path + ": cannot be read");
    return content;
  } catch (const std::ios_base::failure&) {  // a folder, for one
    throw Exception(LEVIT_INPUT, path + ": cannot be read");
  }

  static void require(levit_status status, std::size_t image = Exception::no_image) {
    if (status != LEVIT_OK) throw Exception(status, levit_last_error(), image);
  }

  template <typename Run>
  Result run(std::size_t count, std::uint32_t top_k, bool logits, Run&& call) const {
    const std::size_t classes = info().classes;
    if (top_k > classes) top_k = static_cast<std::uint32_t>(classes);
    Result result;
    result.guesses.resize(count * top_k);
    result.logits.resize(logits ? count * classes : 0);
    levit_result raw{};
    raw.struct_size = sizeof raw;
    raw.top_k = top_k;
    raw.guesses = result.guesses.data();
    raw.logits = logits ? result.logits.data() : nullptr;
    const levit_status status = std::forward<Run>(call)(&raw);
    require(status, raw.failed_image);
    result.timings = raw.timings;
    return result;
  }

  std::unique_ptr<levit_classifier, Close> handle_;
};

}  // namespace levit

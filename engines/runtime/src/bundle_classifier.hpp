// What stands behind a levit_classifier: a bundle, its network, and the memory that calls work in.
#pragma once

#include <levit/levit.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bundle.hpp"
#include "network.hpp"
#include "onnxruntime_session.hpp"
#include "self_test.hpp"
#include "workspace.hpp"

namespace levit {

struct ClassifierOptions {
  SessionSettings session;
  bool self_test = true;
  bool use_built_graph = true;
  std::string onnxruntime_library;
};

// Where the results of a call go; either pointer may be null.
struct Request {
  std::size_t count = 0;
  std::size_t top_k = 0;
  levit_guess* guesses = nullptr;
  float* logits = nullptr;
  levit_timings timings{};
  std::size_t failed_image = SIZE_MAX;
};

// All that is const may be called from several threads at once.
class BundleClassifier {
 public:
  // Throws Error; see levit_open.
  BundleClassifier(const std::string& path, const ClassifierOptions& options);

  const Manifest& manifest() const { return bundle_.manifest(); }
  const OpenedNetwork& opened() const { return opened_; }
  const std::vector<std::string>& labels() const { return labels_; }
  const SelfTestReport& self_tested() const { return self_tested_; }
  bool takes_pixels() const { return takes_pixels_; }
  std::size_t image_values() const { return image_values_; }  // 3 * side * side

  // Replays the golden images at every batch size that was verified when the bundle was written and
  // that the network takes.
  SelfTestReport test_again() const;

  void run(const levit_encoded* images, Request& request) const;
  void run(const levit_pixels* images, Request& request) const;
  void run_tensor(const void* tensor, Request& request) const;

  // The resized, cropped pixels alone.
  void preprocess(const levit_encoded& image, std::uint8_t* rgb) const;
  void preprocess(const levit_pixels& image, std::uint8_t* rgb) const;

 private:
  // Writes the pixels that the network sees of image `index` to the last argument.
  using Source =
      std::function<void(Workspace&, std::size_t index, levit_timings&, std::uint8_t* rgb)>;

  void run_from(const Source& source, Request& request) const;
  const void* fill(const Source& source, Workspace& workspace, std::size_t first, std::size_t count,
                   Request& request) const;
  const void* pad(const void* tensor, Workspace& workspace, std::size_t count) const;
  void infer(const void* tensor, std::size_t padded, Workspace& workspace, Request& request) const;
  void rank(Workspace& workspace, std::size_t first, std::size_t count, Request& request) const;
  void resize(const levit_encoded& image, Workspace& workspace, levit_timings& timings,
              std::uint8_t* rgb) const;
  void resize(const levit_pixels& image, Workspace& workspace, levit_timings& timings,
              std::uint8_t* rgb) const;
  std::size_t smallest_batch() const { return static_cast<std::size_t>(opened_.batches.minimum); }
  std::size_t group_size() const;
  std::size_t classes() const { return static_cast<std::size_t>(manifest().num_classes); }

  Bundle bundle_;
  bool takes_pixels_;
  std::size_t image_values_;
  std::vector<std::string> labels_;
  OpenedNetwork opened_;
  SelfTestReport self_tested_;
  mutable WorkspacePool pool_;
};

}  // namespace levit

// The network of a bundle as a plan of TensorRT, with the memory of the GPU that it works in.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "manifest.hpp"
#include "network.hpp"
#include "tensorrt.hpp"

namespace levit {

// Calls take turns: there is one execution context. Memory grows to the largest batch that was run.
class PlanNetwork final : public Network {
 public:
  // `plan` takes and gives what `manifest` says (require_promised). Throws Error(input).
  PlanNetwork(std::unique_ptr<Plan> plan, const Manifest& manifest, const BatchSizes& batches);
  ~PlanNetwork() override;

  void run(const void* images, std::size_t count, float* logits) const override;

 private:
  // A tensor in memory of the GPU, and what one image takes of it.
  struct Buffer {
    std::size_t bytes_of_image = 0;
    void* memory = nullptr;
  };

  void prepare(std::size_t count) const;
  void reserve(std::size_t count) const;
  void release() const noexcept;

  std::unique_ptr<Plan> plan_;
  BatchSizes batches_;
  std::string input_;
  std::vector<std::int64_t> shape_;  // of the input; the first side is that of a run
  // What follows changes from run to run.
  mutable std::mutex turn_;
  mutable std::map<std::string, Buffer> buffers_;
  mutable std::size_t reserved_ = 0;  // images that the buffers hold
  mutable std::size_t prepared_ = 0;  // images that the plan expects; 0 when that is not known
};

}  // namespace levit

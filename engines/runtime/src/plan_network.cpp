#include "plan_network.hpp"

#include <utility>

#include "error.hpp"
#include "plan_tensors.hpp"

namespace levit {
namespace {

constexpr const char* logits_name = "logits";

}  // namespace

PlanNetwork::PlanNetwork(std::unique_ptr<Plan> plan, const Manifest& manifest,
                         const BatchSizes& batches)
    : plan_(std::move(plan)),
      batches_(batches),
      input_(manifest.input.name),
      shape_(manifest.input.shape) {
  const std::int64_t batch = shape_.front();
  buffers_[input_].bytes_of_image = bytes_of_image(manifest.input, batch);
  // TensorRT writes every output, also those that nobody asks for.
  for (const Tensor& output : manifest.outputs) {
    buffers_[output.name].bytes_of_image = bytes_of_image(output, batch);
  }
}

PlanNetwork::~PlanNetwork() { release(); }

void PlanNetwork::run(const void* images, std::size_t count, float* logits) const {
  if (count < static_cast<std::size_t>(batches_.minimum) ||
      count > static_cast<std::size_t>(batches_.maximum)) {
    throw Error(Status::failed,
                "a batch of " + std::to_string(count) + " images, the plan was built for " +
                    std::to_string(batches_.minimum) + " to " + std::to_string(batches_.maximum));
  }
  const std::lock_guard<std::mutex> lock(turn_);
  if (count != prepared_) prepare(count);
  const Buffer& source = buffers_.at(input_);
  const Buffer& target = buffers_.at(logits_name);
  plan_->run({images, source.memory, count * source.bytes_of_image, logits, target.memory,
              count * target.bytes_of_image});
}

void PlanNetwork::prepare(std::size_t count) const {
  prepared_ = 0;
  if (count > reserved_) reserve(count);
  std::vector<std::int64_t> shape = shape_;
  shape.front() = static_cast<std::int64_t>(count);
  plan_->set_shape(input_, shape);
  prepared_ = count;
}

// Larger buffers in place of those at hand, which the plan forgets.
void PlanNetwork::reserve(std::size_t count) const {
  release();
  for (auto& [name, buffer] : buffers_) {
    buffer.memory = plan_->reserve(count * buffer.bytes_of_image);
    plan_->bind(name, buffer.memory);
  }
  reserved_ = count;
}

void PlanNetwork::release() const noexcept {
  reserved_ = 0;
  for (auto& entry : buffers_) {
    if (entry.second.memory != nullptr) plan_->release(entry.second.memory);
    entry.second.memory = nullptr;
  }
}

}  // namespace levit

// The memory that one call works in. It is kept and used again, so that a stream of images
// allocates nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "image.hpp"
#include "preprocess.hpp"

namespace levit {

struct Workspace {
  explicit Workspace(const Preprocessing& contract) : preprocessor(contract) {}

  Preprocessor preprocessor;
  Image image;
  std::vector<std::uint8_t> pixels;  // of one image, or of a group where the graph takes pixels
  std::vector<float> planes;         // of a group, where it does not
  std::vector<float> logits;         // of a group
  std::vector<std::uint32_t> order;

  // What grows with the size of the images.
  std::size_t image_bytes() const {
    return image.rgb.capacity() + image.scratch.capacity() + preprocessor.working_bytes();
  }
};

// Largest memory for images that is kept from call to call: enough for photographs of 20 megapixels
// (levit.h states it).
constexpr std::size_t most_kept_bytes = std::size_t{64} << 20;

// Workspaces that no call uses: as many as there ever were calls at once.
class WorkspacePool {
 public:
  explicit WorkspacePool(const Preprocessing& contract) : contract_(contract) {}

  // Borrows a workspace until the lease goes.
  class Lease {
   public:
    explicit Lease(WorkspacePool& pool) : pool_(pool), workspace_(pool.take()) {}
    ~Lease() { pool_.give(std::move(workspace_)); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;

    Workspace& operator*() const { return *workspace_; }

   private:
    WorkspacePool& pool_;
    std::unique_ptr<Workspace> workspace_;
  };

 private:
  std::unique_ptr<Workspace> take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (free_.empty()) {
      free_.reserve(++lent_);  // so that giving back never allocates, and so never throws
      return std::make_unique<Workspace>(contract_);
    }
    std::unique_ptr<Workspace> workspace = std::move(free_.back());
    free_.pop_back();
    return workspace;
  }

  void give(std::unique_ptr<Workspace> workspace) noexcept {
    const bool too_large = workspace->image_bytes() > most_kept_bytes;
    const std::lock_guard<std::mutex> lock(mutex_);
    if (too_large) {  // freed after the lock
      --lent_;
      return;
    }
    free_.push_back(std::move(workspace));
  }

  Preprocessing contract_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Workspace>> free_;
  std::size_t lent_ = 0;  // that exist, in calls or free
};

}  // namespace levit

// What a call computes in: memory for its activations, and threads.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "arena.hpp"
#include "worker_pool.hpp"

namespace levit::native {

struct Workspace {
  explicit Workspace(int threads) : pool(threads) {}

  WorkerPool pool;
  std::atomic<bool> is_finite{true};  // the images of this call, as far as they were read
  int reserved = 0;                   // images that there is room for below
  Arena arena;
  // What each convolution of the stem reads, with a rim of zeros.
  std::vector<float*> feature_maps;
  float *tokens = nullptr, *picked = nullptr, *queries = nullptr, *heads = nullptr,
        *mixed = nullptr, *hidden = nullptr, *mean = nullptr, *logits = nullptr,
        *prepared = nullptr;
  std::vector<float*> scratch;  // one for each thread
};

// Those of one network. Calls of one thread each run at the same time, in a workspace each, which
// is kept for the next. Calls of several threads take turns: as many again would have to share the
// CPUs, and wait for each other awake.
class Workspaces {
 public:
  // Makes the first, so that threads that cannot start are known at once. Throws std::system_error.
  explicit Workspaces(int threads);

  // Has a workspace as long as it lives.
  class Lease {
   public:
    explicit Lease(Workspaces& workspaces) : owner_(workspaces), workspace_(owner_.take()) {}
    ~Lease() { owner_.give_back(std::move(workspace_)); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;

    Workspace& operator*() const { return *workspace_; }

   private:
    Workspaces& owner_;
    std::unique_ptr<Workspace> workspace_;
  };

 private:
  std::unique_ptr<Workspace> make();
  std::unique_ptr<Workspace> take();
  void give_back(std::unique_ptr<Workspace> workspace);

  const int threads_;
  std::mutex mutex_;
  std::condition_variable given_back_;
  std::vector<std::unique_ptr<Workspace>> idle_;
  std::size_t made_ = 0;
};

}  // namespace levit::native

#include "workspaces.hpp"

#include <utility>

namespace levit::native {

Workspaces::Workspaces(int threads) : threads_(threads) { idle_.push_back(make()); }

// There is room for all to be idle, so that giving one back cannot fail.
std::unique_ptr<Workspace> Workspaces::make() {
  idle_.reserve(made_ + 1);
  auto workspace = std::make_unique<Workspace>(threads_);
  ++made_;
  return workspace;
}

std::unique_ptr<Workspace> Workspaces::take() {
  std::unique_lock<std::mutex> lock(mutex_);
  if (threads_ == 1 && idle_.empty()) return make();
  given_back_.wait(lock, [this] { return !idle_.empty(); });
  // The last one used: the most of it is in a cache.
  std::unique_ptr<Workspace> workspace = std::move(idle_.back());
  idle_.pop_back();
  return workspace;
}

void Workspaces::give_back(std::unique_ptr<Workspace> workspace) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    idle_.push_back(std::move(workspace));
  }
  given_back_.notify_one();
}

}  // namespace levit::native

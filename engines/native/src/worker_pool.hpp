// Threads that share out the pieces of one job after the other.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace levit::native {

// The calling thread is one of the `threads`. Between `begin` and `end`, and for a moment after it,
// the others wait for jobs awake, as a network has one every few microseconds; otherwise they
// sleep.
class WorkerPool {
 public:
  explicit WorkerPool(int threads);
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }
  void begin();
  void end();

  // Calls `piece(number, thread)` for every number below `count`, in no certain order, and waits
  // for them. Neighbouring numbers mostly go to the same thread, and low ones to the first, job
  // after job: what lies in its cache stays there. Pieces throw nothing; `count` is below 2^20.
  template <class Piece>
  void run(int count, const Piece& piece) {
    if (workers_.empty() || count == 1) {
      for (int number = 0; number < count; ++number) piece(number, 0);
      return;
    }
    share(
        count,
        [](const void* given, int number, int thread) {
          (*static_cast<const Piece*>(given))(number, thread);
        },
        &piece);
  }

 private:
  using Call = void (*)(const void* piece, int number, int thread);

  // The pieces that a thread begins with, from which others take what is left when theirs are done:
  // the number of the job (24 bits), the end (20) and what is next (20), in one word, so that a
  // thread that was late never takes a piece of one job for one of another.
  struct alignas(64) Range {
    std::atomic<std::uint64_t> state{0};
  };

  void stop();
  void share(int count, Call call, const void* piece);
  void take_all(int thread, std::uint64_t job);
  void take(Range& range, std::uint64_t job, int thread);
  bool is_soon_awake() const;
  void work(int thread);

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<bool> awake_{false};
  std::atomic<bool> ending_{false};
  std::vector<Range> ranges_;
  std::atomic<int> done_{0};
  std::uint64_t jobs_ = 0;
  Call call_ = nullptr;
  const void* piece_ = nullptr;
};

}  // namespace levit::native

#include "worker_pool.hpp"

#include <chrono>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace levit::native {
namespace {

constexpr int count_bits = 20;
constexpr std::uint64_t count_mask = (std::uint64_t{1} << count_bits) - 1;
constexpr std::uint64_t job_mask = 0xffffff;
constexpr int spins_before_yielding = 4096;
// Calls often follow each other, and to wake a thread up takes a twentieth of the fastest call.
constexpr std::chrono::microseconds awake_after_end{200};

int next_of(std::uint64_t state) { return static_cast<int>(state & count_mask); }
int end_of(std::uint64_t state) { return static_cast<int>(state >> count_bits & count_mask); }
std::uint64_t job_of(std::uint64_t state) { return state >> (2 * count_bits); }

// Waits a moment; where more threads than CPUs are awake, they must let each other go on.
class Spin {
 public:
  void operator()() {
    if (++spins_ < spins_before_yielding) {
#if defined(__x86_64__)
      _mm_pause();
#elif defined(__aarch64__)
      asm volatile("yield");
#endif
    } else {
      std::this_thread::yield();
    }
  }

 private:
  int spins_ = 0;
};

}  // namespace

WorkerPool::WorkerPool(int threads) : ranges_(static_cast<std::size_t>(threads)) {
  workers_.reserve(static_cast<std::size_t>(threads) - 1);
  try {
    for (int thread = 1; thread < threads; ++thread) {
      workers_.emplace_back([this, thread] { work(thread); });
    }
  } catch (...) {
    stop();
    throw;
  }
}

WorkerPool::~WorkerPool() { stop(); }

void WorkerPool::stop() {
  ending_ = true;
  begin();
  for (std::thread& worker : workers_) worker.join();
}

void WorkerPool::begin() {
  if (workers_.empty()) return;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    awake_ = true;
  }
  wake_.notify_all();
}

void WorkerPool::end() { awake_ = false; }

void WorkerPool::share(int count, Call call, const void* piece) {
  call_ = call;
  piece_ = piece;
  done_.store(0, std::memory_order_relaxed);
  jobs_ = (jobs_ + 1) & job_mask;
  const auto threads = static_cast<std::uint64_t>(ranges_.size());
  const auto all = static_cast<std::uint64_t>(count);
  for (std::uint64_t thread = threads; thread-- > 0;) {
    const std::uint64_t first = all * thread / threads, end = all * (thread + 1) / threads;
    ranges_[thread].state.store(jobs_ << (2 * count_bits) | end << count_bits | first,
                                std::memory_order_release);
  }
  take_all(0, jobs_);
  Spin spin;
  while (done_.load(std::memory_order_acquire) != count) spin();
}

void WorkerPool::take_all(int thread, std::uint64_t job) {
  const std::size_t threads = ranges_.size();
  for (std::size_t step = 0; step < threads; ++step) {
    take(ranges_[(static_cast<std::size_t>(thread) + step) % threads], job, thread);
  }
}

void WorkerPool::take(Range& range, std::uint64_t job, int thread) {
  std::uint64_t state = range.state.load(std::memory_order_acquire);
  while (job_of(state) == job && next_of(state) < end_of(state)) {
    if (!range.state.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel)) continue;
    call_(piece_, next_of(state), thread);
    done_.fetch_add(1, std::memory_order_release);
    state = range.state.load(std::memory_order_acquire);
  }
}

bool WorkerPool::is_soon_awake() const {
  const auto until = std::chrono::steady_clock::now() + awake_after_end;
  Spin spin;
  while (!awake_.load(std::memory_order_acquire)) {
    if (std::chrono::steady_clock::now() > until) return false;
    spin();
  }
  return true;
}

void WorkerPool::work(int thread) {
  const Range& own = ranges_[static_cast<std::size_t>(thread)];
  std::uint64_t last = 0;
  Spin spin;
  while (true) {
    if (!awake_.load(std::memory_order_acquire)) {
      if (!is_soon_awake()) {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [this] { return awake_.load(); });
      }
      spin = Spin();
    }
    if (ending_) return;
    const std::uint64_t job = job_of(own.state.load(std::memory_order_acquire));
    if (job != last) {
      take_all(thread, job);
      last = job;
      spin = Spin();
    } else {
      spin();
    }
  }
}

}  // namespace levit::native

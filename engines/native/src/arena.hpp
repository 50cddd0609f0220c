// Memory for the parameters of a network, or for what it computes: pieces one after the other.
#pragma once

#include <cstddef>
#include <vector>

namespace levit::native {

// Zeros at first, on large pages where the system has them: all of it is read in every call, so
// that many small pages would cost a look-up each time. Freed as a whole.
class Arena {
 public:
  Arena() = default;
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  void clear();

  // Room for `count` floats from a cache line on. Throws std::bad_alloc.
  float* take(std::size_t count);

 private:
  struct Part {
    void* mapped;
    std::size_t bytes;
  };
  std::vector<Part> parts_;
  char* next_ = nullptr;
  std::size_t left_ = 0;
};

}  // namespace levit::native

// Floats that begin at a cache line.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

namespace levit::native {

// Zeros at first. Throws std::bad_alloc.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::size_t count) {
    constexpr std::size_t line = 64;
    if (count > (SIZE_MAX - line) / sizeof(float)) throw std::bad_alloc();
    const std::size_t bytes = (count * sizeof(float) + line - 1) / line * line;
    floats_.reset(static_cast<float*>(std::aligned_alloc(line, bytes == 0 ? line : bytes)));
    if (floats_ == nullptr) throw std::bad_alloc();
    std::memset(floats_.get(), 0, bytes);
  }

  float* data() { return floats_.get(); }
  const float* data() const { return floats_.get(); }

 private:
  struct Free {
    void operator()(float* floats) const { std::free(floats); }
  };
  std::unique_ptr<float, Free> floats_;
};

}  // namespace levit::native

#include "arena.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <new>

namespace levit::native {
namespace {

constexpr std::size_t line = 64;
constexpr std::size_t large_page = std::size_t{2} << 20;
constexpr std::size_t part_bytes = 8 * large_page;

std::size_t rounded(std::size_t bytes, std::size_t step) {
  return (bytes + step - 1) / step * step;
}

}  // namespace

Arena::~Arena() { clear(); }

void Arena::clear() {
  for (const Part& part : parts_) munmap(part.mapped, part.bytes);
  parts_.clear();
  next_ = nullptr;
  left_ = 0;
}

float* Arena::take(std::size_t count) {
  if (count > SIZE_MAX / 2 / sizeof(float)) throw std::bad_alloc();
  const std::size_t bytes = rounded(count * sizeof(float), line);
  if (bytes > left_) {
    const std::size_t wanted = rounded(std::max(bytes, part_bytes), large_page);
    parts_.reserve(parts_.size() + 1);
    // One page more, as it must begin where a large page does.
    void* mapped = mmap(nullptr, wanted + large_page, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) throw std::bad_alloc();
    parts_.push_back({mapped, wanted + large_page});
    const auto address = reinterpret_cast<std::uintptr_t>(mapped);
    next_ = static_cast<char*>(mapped) + (rounded(address, large_page) - address);
    left_ = wanted;
    madvise(next_, wanted, MADV_HUGEPAGE);  // a wish: without large pages it is only slower
  }
  char* const taken = next_;
  next_ += bytes;
  left_ -= bytes;
  return reinterpret_cast<float*>(taken);
}

}  // namespace levit::native

#include <cstring>

#include "kernels.hpp"

namespace levit::native {
namespace {

bool has_avx512() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
#else
  return false;
#endif
}

bool has_avx2() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
  return false;
#endif
}

}  // namespace

const Kernels* find_kernels(const char* name) {
  const Kernels* const runnable[] = {has_avx512() ? avx512_kernels() : nullptr,
                                     has_avx2() ? avx2_kernels() : nullptr, portable_kernels()};
  for (const Kernels* kernels : runnable) {
    if (kernels != nullptr && (*name == '\0' || std::strcmp(name, kernels->name) == 0))
      return kernels;
  }
  return nullptr;
}

}  // namespace levit::native

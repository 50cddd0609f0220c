#include <cstring>

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

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

bool has_avx512_vnni() {
#if defined(__x86_64__)
  return has_avx512() && __builtin_cpu_supports("avx512vnni");
#else
  return false;
#endif
}

// A process has to ask for the tiles of AMX: they make the state of its threads 8 KiB larger.
bool has_amx() {
#if defined(__x86_64__) && defined(__linux__)
  constexpr int request_permission = 0x1023, tile_data = 18;
  constexpr unsigned tiles = 1U << 24 | 1U << 25;  // at all, and of bytes
  unsigned a = 0, b = 0, c = 0, d = 0;
  return has_avx512_vnni() && __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 &&
         (d & tiles) == tiles && syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
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
  const Kernels* const runnable[] = {has_amx() ? amx_kernels() : nullptr,
                                     has_avx512_vnni() ? avx512_vnni_kernels() : nullptr,
                                     has_avx512() ? avx512_kernels() : nullptr,
                                     has_avx2() ? avx2_kernels() : nullptr, portable_kernels()};
  for (const Kernels* kernels : runnable) {
    if (kernels != nullptr && (*name == '\0' || std::strcmp(name, kernels->name) == 0))
      return kernels;
  }
  return nullptr;
}

}  // namespace levit::native

#if defined(__AVX512VNNI__) && defined(__FMA__)
#define LEVIT_KERNELS "avx512-vnni"
#include "kernels_body.hpp"
const levit::native::Kernels* levit::native::avx512_vnni_kernels() { return &vector_kernels; }
#else
#include "kernels.hpp"
const levit::native::Kernels* levit::native::avx512_vnni_kernels() { return nullptr; }
#endif

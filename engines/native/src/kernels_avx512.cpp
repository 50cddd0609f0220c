#if defined(__AVX512F__) && defined(__FMA__)
#define LEVIT_KERNELS "avx512"
#include "kernels_body.hpp"
const levit::native::Kernels* levit::native::avx512_kernels() { return &vector_kernels; }
#else
#include "kernels.hpp"
const levit::native::Kernels* levit::native::avx512_kernels() { return nullptr; }
#endif

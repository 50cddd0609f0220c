#if defined(__AVX2__) && defined(__FMA__)
#define LEVIT_KERNELS "avx2"
#include "kernels_body.hpp"
const levit::native::Kernels* levit::native::avx2_kernels() { return &vector_kernels; }
#else
#include "kernels.hpp"
const levit::native::Kernels* levit::native::avx2_kernels() { return nullptr; }
#endif

#define LEVIT_KERNELS "portable"
#include "kernels_body.hpp"
const levit::native::Kernels* levit::native::portable_kernels() { return &vector_kernels; }

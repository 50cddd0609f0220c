// A golden set: whatever the bytes, tensors that lie inside of them or an Error.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "error.hpp"
#include "reached.hpp"
#include "safetensors.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const levit::Safetensors file = levit::read_safetensors(data, size);
    for (const auto& [name, tensor] : file.tensors) {
      const bool inside = tensor.data >= data &&
                          tensor.size_bytes <= size - static_cast<std::size_t>(tensor.data - data);
      if (!inside) std::abort();
      ++levit_fuzz::reached();
    }
  } catch (const levit::Error&) {  // the only exception that may leave
  }
  return 0;
}

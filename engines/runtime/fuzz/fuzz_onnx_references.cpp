// model.onnx: whatever the bytes, names that lie inside of them or an Error.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "error.hpp"
#include "onnx_references.hpp"
#include "reached.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    for (const std::string& name : levit::external_files(data, size)) {
      if (name.size() > size) std::abort();
      ++levit_fuzz::reached();
    }
  } catch (const levit::Error&) {  // the only exception that may leave
  }
  return 0;
}

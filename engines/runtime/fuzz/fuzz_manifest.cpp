// manifest.json: whatever the bytes, a manifest or an Error.
#include <cstddef>
#include <cstdint>
#include <string>

#include "error.hpp"
#include "manifest.hpp"
#include "reached.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    levit::parse_manifest(std::string(reinterpret_cast<const char*>(data), size));
    ++levit_fuzz::reached();
  } catch (const levit::Error&) {  // the only exception that may leave
  }
  return 0;
}

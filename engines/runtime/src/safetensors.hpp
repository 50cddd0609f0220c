// The safetensors format: eight bytes with the length of a JSON header, the header, the tensors
// without gaps. Source: https://github.com/huggingface/safetensors, README.md, "Format".
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace levit {

struct StoredTensor {
  std::string dtype;  // "U8", "F64", ...
  std::vector<std::int64_t> shape;
  const std::uint8_t* data = nullptr;  // inside the bytes that were read; not aligned
  std::size_t size_bytes = 0;
};

struct Safetensors {
  std::map<std::string, StoredTensor> tensors;
  std::map<std::string, std::string> metadata;
};

constexpr std::uint64_t max_safetensors_header_bytes =
    100'000'000;  // the limit of the reference implementation

// The tensors point into `data`, which must outlive them. Throws Error(input).
Safetensors read_safetensors(const std::uint8_t* data, std::size_t size);

}  // namespace levit

// SHA-256 (FIPS 180-4).
//
// Our own sixty lines: a bundle is checked on devices that have no cryptographic library, and
// linking one for a single function would be the largest dependency of the runtime.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace levit {

class Sha256 {
 public:
  void update(const std::uint8_t* data, std::size_t size);

  // The digest as 64 hexadecimal digits; the object is used up.
  std::string hexadecimal();

 private:
  void compress(const std::uint8_t* block);

  std::array<std::uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<std::uint8_t, 64> pending_ = {};
  std::size_t pending_size_ = 0;
  std::uint64_t total_size_ = 0;
};

std::string sha256_of(const std::uint8_t* data, std::size_t size);

}  // namespace levit

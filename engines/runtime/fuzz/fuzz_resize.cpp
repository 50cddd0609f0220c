// Any geometry: the first bytes choose sizes, stride and contract, the rest are pixels. Both passes
// stay inside of them.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "error.hpp"
#include "preprocess.hpp"
#include "reached.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::uint16_t numbers[6];
  if (size < sizeof numbers) return 0;
  std::memcpy(numbers, data, sizeof numbers);
  data += sizeof numbers;
  size -= sizeof numbers;
  const int width = 1 + numbers[0] % 4096;
  const int height = 1 + numbers[1] % std::min(4096, 1 + (1 << 18) / width);
  levit::Preprocessing contract;
  contract.resize_size = 1 + numbers[2] % 300;
  contract.image_size = 1 + numbers[3] % contract.resize_size;
  contract.crop_rounding = (numbers[4] & 1) != 0 ? "floor" : "half_even";
  const std::ptrdiff_t stride = width * 3 + numbers[5] % 7;
  // No byte behind the last row, so that the sanitizer sees every step too far.
  std::vector<std::uint8_t> pixels(static_cast<std::size_t>(stride) *
                                       static_cast<std::size_t>(height - 1) +
                                   static_cast<std::size_t>(width) * 3);
  for (std::size_t i = 0; i < pixels.size() && size > 0; ++i) pixels[i] = data[i % size];
  const std::size_t side = static_cast<std::size_t>(contract.image_size);
  std::vector<std::uint8_t> window(side * side * 3);
  try {
    levit::Preprocessor preprocessor(contract);
    preprocessor.resize({pixels.data(), width, height, stride, (numbers[4] & 2) != 0},
                        window.data());
    ++levit_fuzz::reached();
  } catch (const levit::Error&) {  // the only exception that may leave
  }
  return 0;
}

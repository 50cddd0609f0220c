// ONNX models as bytes, put together by hand. Source: onnx/onnx.proto for the numbers of fields.
#pragma once

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace levit_test {

inline std::string varint(std::uint64_t value) {
  std::string bytes;
  for (; value > 0x7F; value >>= 7) bytes += static_cast<char>((value & 0x7F) | 0x80);
  return bytes + static_cast<char>(value);
}

// A message, text or list of numbers as field `number` of another message.
inline std::string field(unsigned number, const std::string& content) {
  return varint(number << 3 | 2) + varint(content.size()) + content;
}

inline std::string number_field(unsigned number, std::uint64_t value) {
  return varint(number << 3) + varint(value);
}

template <typename Number>
std::string bytes_of(const std::vector<Number>& numbers) {
  std::string bytes(numbers.size() * sizeof(Number), '\0');
  if (!numbers.empty()) std::memcpy(bytes.data(), numbers.data(), bytes.size());
  return bytes;
}

inline std::string shape(std::initializer_list<std::uint64_t> sides) {
  std::string bytes;
  for (const std::uint64_t side : sides) bytes += number_field(1, side);
  return bytes;
}

constexpr unsigned float32 = 1, uint8 = 2, int8 = 3, int64 = 7, float16 = 10;

// A constant of a type, with more fields.
inline std::string constant(const std::string& name, unsigned type, const std::string& fields) {
  return field(5, fields + number_field(2, type) + field(8, name));
}

inline std::string floats(const std::string& name, std::initializer_list<std::uint64_t> sides,
                          const std::vector<float>& values) {
  return constant(name, float32, shape(sides) + field(9, bytes_of(values)));
}

inline std::string node(const std::string& name, const std::string& operation,
                        const std::vector<std::string>& inputs, const std::string& output) {
  std::string content;
  for (const std::string& input : inputs) content += field(1, input);
  return field(1, content + field(2, output) + field(3, name) + field(4, operation));
}

inline std::string model_of(const std::string& graph) { return field(7, graph); }

}  // namespace levit_test

// The wire format of protocol buffers, walked without a schema compiler.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "error.hpp"

namespace levit {

[[noreturn]] inline void refuse_format() { throw Error(Status::input, "not an ONNX model"); }

// A field of a message. Numbers of fixed width are passed by.
struct ProtobufField {
  std::uint32_t number = 0;
  std::uint64_t value = 0;  // of a varint
  bool is_message = false;  // or text, or bytes, or many numbers
  std::string_view content;
};

// The first `size` bytes of `rest`, which begins after them then. Throws Error(input) where there
// are not so many.
inline std::string_view take_bytes(std::string_view& rest, std::uint64_t size) {
  if (size > rest.size()) refuse_format();
  const std::string_view taken = rest.substr(0, static_cast<std::size_t>(size));
  rest.remove_prefix(taken.size());
  return taken;
}

// The varint that `rest`, which begins after it then, begins with. Throws Error(input) where there
// is none.
inline std::uint64_t take_varint(std::string_view& rest) {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    const auto byte = static_cast<unsigned char>(take_bytes(rest, 1).front());
    value |= std::uint64_t{byte & 0x7FU} << shift;
    if (byte < 0x80) return value;
  }
  refuse_format();
}

// The fields of one message, one after the other.
class ProtobufFields {
 public:
  explicit ProtobufFields(std::string_view bytes) : rest_(bytes) {}

  // False after the last one. Throws Error(input) when the bytes are no message.
  bool next(ProtobufField& field) {
    if (rest_.empty()) return false;
    const std::uint64_t tag = take_varint(rest_);
    field = {};
    if (tag >> 3 == 0 || tag > UINT32_MAX) refuse_format();
    field.number = static_cast<std::uint32_t>(tag >> 3);
    switch (tag & 7) {
      case 0:
        field.value = take_varint(rest_);
        return true;
      case 1:
        take_bytes(rest_, 8);
        return true;
      case 2:
        field.is_message = true;
        field.content = take_bytes(rest_, take_varint(rest_));
        return true;
      case 5:
        take_bytes(rest_, 4);
        return true;
      default:  // groups, which ONNX does not have
        refuse_format();
    }
  }

 private:
  std::string_view rest_;
};

}  // namespace levit

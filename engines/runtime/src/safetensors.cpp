#include "safetensors.hpp"

#include <algorithm>
#include <limits>
#include <string_view>
#include <utility>

#include "error.hpp"
#include "json.hpp"
#include "text.hpp"

namespace levit {
namespace {

constexpr std::size_t length_bytes = 8;

[[noreturn]] void fail(const std::string& reason) {
  throw Error(Status::input, "not safetensors (" + reason + ")");
}

std::size_t bits_of(const std::string& dtype, const std::string& name) {
  static const std::map<std::string, std::size_t> bits = {
      {"BOOL", 8}, {"U8", 8},   {"I8", 8},   {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8},
      {"I16", 16}, {"U16", 16}, {"F16", 16}, {"BF16", 16},   {"I32", 32},    {"U32", 32},
      {"F32", 32}, {"F64", 64}, {"I64", 64}, {"U64", 64},    {"C64", 64}};
  const auto found = bits.find(dtype);
  if (found == bits.end())
    fail("tensor " + quoted(name) + " has the unknown type " + quoted(dtype));
  return found->second;
}

std::uint64_t natural(const JsonValue& value, const std::string& name) {
  const JsonInteger* const number = value.integer();
  if (number == nullptr || !number->fits || number->value < 0) {
    fail("tensor " + quoted(name) + " has a size or offset that is not a natural number");
  }
  return static_cast<std::uint64_t>(number->value);
}

std::uint64_t multiplied(std::uint64_t left, std::uint64_t right, const std::string& name) {
  if (right != 0 && left > std::numeric_limits<std::uint64_t>::max() / right) {
    fail("tensor " + quoted(name) + " is larger than any memory");
  }
  return left * right;
}

struct Span {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::string name;
};

// One entry of the header; its place in the data is `span`.
StoredTensor tensor_from(const std::string& name, const JsonValue& entry, Span& span) {
  const JsonValue* const dtype = entry.find("dtype");
  const JsonValue* const shape = entry.find("shape");
  const JsonValue* const offsets = entry.find("data_offsets");
  const bool complete = dtype != nullptr && dtype->string() != nullptr && shape != nullptr &&
                        shape->array() != nullptr && offsets != nullptr &&
                        offsets->array() != nullptr && offsets->array()->size() == 2;
  if (!complete) fail("tensor " + quoted(name) + " lacks dtype, shape or data_offsets");
  StoredTensor tensor;
  tensor.dtype = *dtype->string();
  std::uint64_t bits = bits_of(tensor.dtype, name);
  for (const JsonValue& side : *shape->array()) {
    const std::uint64_t length = natural(side, name);
    bits = multiplied(bits, length, name);
    tensor.shape.push_back(static_cast<std::int64_t>(length));
  }
  span = {natural((*offsets->array())[0], name), natural((*offsets->array())[1], name), name};
  if (span.end < span.begin || span.end - span.begin != bits / 8) {
    fail("tensor " + quoted(name) + " has offsets that do not fit its shape");
  }
  return tensor;
}

void read_metadata(const JsonValue& entry, std::map<std::string, std::string>& metadata) {
  if (entry.object() == nullptr) fail("__metadata__ is no object");
  for (const JsonMember& member : *entry.object()) {
    if (member.value.string() == nullptr) fail("__metadata__ holds something else than texts");
    metadata.emplace(member.key, *member.value.string());
  }
}

}  // namespace

Safetensors read_safetensors(const std::uint8_t* data, std::size_t size) {
  if (size < length_bytes) fail("shorter than its first field");
  std::uint64_t header_bytes = 0;
  for (std::size_t i = length_bytes; i-- > 0;) header_bytes = header_bytes << 8 | data[i];
  if (header_bytes > max_safetensors_header_bytes) fail("the header is too large");
  if (header_bytes > size - length_bytes) fail("shorter than its header");
  const std::string_view header(reinterpret_cast<const char*>(data) + length_bytes,
                                static_cast<std::size_t>(header_bytes));
  if (header.empty() || header.front() != '{') fail("the header is no JSON object");

  const JsonValue document = parse_json(header);
  Safetensors file;
  std::vector<Span> spans;
  for (const JsonMember& member : *document.object()) {
    if (member.key == "__metadata__") {
      read_metadata(member.value, file.metadata);
    } else {
      file.tensors.emplace(member.key, tensor_from(member.key, member.value, spans.emplace_back()));
    }
  }

  // Without gaps and overlaps, up to the very end: nothing can hide between tensors, and none can
  // alias another.
  std::sort(spans.begin(), spans.end(), [](const Span& left, const Span& right) {
    return std::make_pair(left.begin, left.end) < std::make_pair(right.begin, right.end);
  });
  const std::uint8_t* const body = data + length_bytes + header.size();
  const std::uint64_t body_bytes = size - length_bytes - header.size();
  std::uint64_t expected = 0;
  for (const Span& span : spans) {
    if (span.begin != expected)
      fail("tensor " + quoted(span.name) + " overlaps another or leaves a gap");
    if (span.end > body_bytes) fail("tensor " + quoted(span.name) + " reaches beyond the file");
    StoredTensor& tensor = file.tensors.at(span.name);
    tensor.data = body + span.begin;
    tensor.size_bytes = static_cast<std::size_t>(span.end - span.begin);
    expected = span.end;
  }
  if (expected != body_bytes) fail("bytes that belong to no tensor");
  return file;
}

}  // namespace levit

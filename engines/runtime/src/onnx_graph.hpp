// The nodes and the constants of an ONNX graph, as views of the bytes that it is read from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace levit {

using OnnxShape = std::vector<std::int64_t>;

// Types of numbers as onnx.proto counts them; a model may name others.
enum class OnnxType : std::uint64_t {
  float32 = 1,
  uint8 = 2,
  int8 = 3,
  int32 = 6,
  int64 = 7,
  boolean = 9
};

// As onnx.proto calls it: "FLOAT".
std::string name_of(OnnxType type);

// What it says of itself: nothing was compared with anything.
struct OnnxConstant {
  std::string_view name;
  OnnxType type{};
  OnnxShape shape;
  bool is_elsewhere = false;  // its numbers are in another file
  // Its numbers, one after the other as memory has them; or as varints, where `is_packed`.
  std::string_view content;
  bool is_packed = false;
};

struct OnnxNode {
  std::string_view name;
  std::string_view operation;
  std::vector<std::string_view> inputs;
  std::vector<std::string_view> outputs;
};

struct OnnxGraph {
  std::vector<OnnxNode> nodes;
  std::vector<OnnxConstant> constants;
};

// The main graph of a model, which must outlive it; graphs inside of it are passed by. Throws
// Error(input) when the bytes are no ONNX model, or one that is out of all proportion.
OnnxGraph read_onnx_graph(const std::uint8_t* model, std::size_t size);

// A name from a model, fit for a message.
std::string shown(std::string_view name);

}  // namespace levit

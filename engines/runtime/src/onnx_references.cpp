// Of all fields of a model only those that lead to a tensor matter. Source: onnx/onnx.proto for the
// numbers.
#include "onnx_references.hpp"

#include <string_view>

#include "error.hpp"
#include "protobuf_fields.hpp"

namespace levit {
namespace {

enum class Kind { model, training, function, graph, node, attribute, sparse_tensor, tensor };

struct Child {
  Kind parent;
  std::uint32_t field;
  Kind kind;
};

constexpr Child children[] = {
    {Kind::model, 7, Kind::graph},
    {Kind::model, 20, Kind::training},
    {Kind::model, 25, Kind::function},
    {Kind::training, 1, Kind::graph},
    {Kind::training, 2, Kind::graph},
    {Kind::function, 7, Kind::node},
    {Kind::function, 11, Kind::attribute},
    {Kind::graph, 1, Kind::node},
    {Kind::graph, 5, Kind::tensor},
    {Kind::graph, 15, Kind::sparse_tensor},
    {Kind::node, 5, Kind::attribute},
    {Kind::attribute, 5, Kind::tensor},
    {Kind::attribute, 6, Kind::graph},
    {Kind::attribute, 10, Kind::tensor},
    {Kind::attribute, 11, Kind::graph},
    {Kind::attribute, 22, Kind::sparse_tensor},
    {Kind::attribute, 23, Kind::sparse_tensor},
    {Kind::sparse_tensor, 1, Kind::tensor},
    {Kind::sparse_tensor, 2, Kind::tensor},
};

constexpr std::uint32_t node_operator = 4;
constexpr std::uint32_t tensor_entry = 13;
constexpr std::uint32_t tensor_location = 14;  // not 0: the data are external
constexpr std::uint32_t entry_key = 1;
constexpr std::uint32_t entry_value = 2;

constexpr int deepest = 64;  // protocol buffers themselves stop at 100

[[noreturn]] void refuse(const std::string& reason) { throw Error(Status::input, reason); }

class Walk {
 public:
  void message(Kind kind, std::string_view bytes, int depth) {
    if (depth > deepest) refuse("a model whose graphs lie too deep in each other");
    if (kind == Kind::tensor) return tensor(bytes);
    ProtobufFields fields(bytes);
    for (ProtobufField field; fields.next(field);) {
      if (kind == Kind::node && field.number == node_operator && field.content == "EPContext")
        refuse("it has an EPContext node, which names files that are not checked");
      if (!field.is_message) continue;
      for (const Child& child : children) {
        if (child.parent == kind && child.field == field.number)
          message(child.kind, field.content, depth + 1);
      }
    }
  }

  std::set<std::string> found;

 private:
  void tensor(std::string_view bytes) {
    bool is_external = false;
    bool has_place = false;
    ProtobufFields fields(bytes);
    for (ProtobufField field; fields.next(field);) {
      if (field.number == tensor_location && field.value != 0) is_external = true;
      if (field.is_message && field.number == tensor_entry) has_place |= entry(field.content);
    }
    if (is_external && !has_place) refuse("it has an external tensor that names no file");
  }

  // Whether the entry names a file.
  bool entry(std::string_view bytes) {
    std::string_view key;
    std::string_view value;
    ProtobufFields fields(bytes);
    for (ProtobufField field; fields.next(field);) {
      if (field.is_message && field.number == entry_key) key = field.content;
      if (field.is_message && field.number == entry_value) value = field.content;
    }
    if (key != "location") return false;
    found.emplace(value);
    return true;
  }
};

}  // namespace

std::set<std::string> external_files(const std::uint8_t* model, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(model), size);
  // ONNX Runtime tells its own format, which refers to files too, by these letters alone.
  if (bytes.substr(0, 8).find("ORTM") == 4) refuse_format();
  Walk walk;
  walk.message(Kind::model, bytes, 0);
  return walk.found;
}

}  // namespace levit

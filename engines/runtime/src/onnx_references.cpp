// The wire format of protocol buffers, walked without a schema compiler: of all fields only those
// that lead to a tensor matter. Source: onnx/onnx.proto for the numbers.
#include "onnx_references.hpp"

#include <string_view>

#include "error.hpp"

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

[[noreturn]] void refuse_format() { refuse("not an ONNX model"); }

struct Field {
  std::uint32_t number = 0;
  std::uint64_t value = 0;  // of a varint
  bool is_message = false;  // or text, or bytes
  std::string_view content;
};

// The fields of one message, one after the other.
class Fields {
 public:
  explicit Fields(std::string_view bytes) : rest_(bytes) {}

  bool next(Field& field) {
    if (rest_.empty()) return false;
    const std::uint64_t tag = varint();
    field = {};
    if (tag >> 3 == 0 || tag > UINT32_MAX) refuse_format();
    field.number = static_cast<std::uint32_t>(tag >> 3);
    switch (tag & 7) {
      case 0:
        field.value = varint();
        return true;
      case 1:
        take(8);
        return true;
      case 2:
        field.is_message = true;
        field.content = take(varint());
        return true;
      case 5:
        take(4);
        return true;
      default:  // groups, which ONNX does not have
        refuse_format();
    }
  }

 private:
  std::string_view take(std::uint64_t size) {
    if (size > rest_.size()) refuse_format();
    const std::string_view taken = rest_.substr(0, static_cast<std::size_t>(size));
    rest_.remove_prefix(taken.size());
    return taken;
  }

  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1).front());
      value |= std::uint64_t{byte & 0x7FU} << shift;
      if (byte < 0x80) return value;
    }
    refuse_format();
  }

  std::string_view rest_;
};

class Walk {
 public:
  void message(Kind kind, std::string_view bytes, int depth) {
    if (depth > deepest) refuse("a model whose graphs lie too deep in each other");
    if (kind == Kind::tensor) return tensor(bytes);
    Fields fields(bytes);
    for (Field field; fields.next(field);) {
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
    Fields fields(bytes);
    for (Field field; fields.next(field);) {
      if (field.number == tensor_location && field.value != 0) is_external = true;
      if (field.is_message && field.number == tensor_entry) has_place |= entry(field.content);
    }
    if (is_external && !has_place) refuse("it has an external tensor that names no file");
  }

  // Whether the entry names a file.
  bool entry(std::string_view bytes) {
    std::string_view key;
    std::string_view value;
    Fields fields(bytes);
    for (Field field; fields.next(field);) {
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

// Source: onnx/onnx.proto for the numbers of fields.
#include "onnx_graph.hpp"

#include <iterator>
#include <utility>

#include "error.hpp"
#include "protobuf_fields.hpp"
#include "utf8.hpp"

namespace levit {
namespace {

// A LeViT has a few hundred nodes. A byte or two of a model may name another one of a hundred bytes
// here, so that without a limit a model would take many times its own size.
constexpr std::size_t most_nodes = 1 << 16;
constexpr std::size_t most_names = 1 << 18;
constexpr std::size_t most_dimensions = 8;
constexpr std::size_t longest_name = 200;

[[noreturn]] void refuse(const std::string& reason) { throw Error(Status::input, reason); }

class Reader {
 public:
  void model(std::string_view bytes) {
    ProtobufFields fields(bytes);
    for (ProtobufField field; fields.next(field);) {
      // Where a message is there twice, its lists are put together.
      if (field.is_message && field.number == 7) graph(field.content);
    }
  }

  OnnxGraph found;

 private:
  void graph(std::string_view bytes) {
    ProtobufFields fields(bytes);
    for (ProtobufField field; fields.next(field);) {
      if (field.is_message && field.number == 1) node(field.content);
      if (field.is_message && field.number == 5) constant(field.content);
      if (found.nodes.size() > most_nodes || found.constants.size() > most_nodes)
        refuse("a graph of more than " + std::to_string(most_nodes) + " nodes or constants");
    }
  }

  void node(std::string_view bytes) {
    OnnxNode node;
    ProtobufFields fields(bytes);
    for (ProtobufField field; fields.next(field);) {
      if (!field.is_message) continue;
      if (field.number == 1) add(node.inputs, field.content);
      if (field.number == 2) add(node.outputs, field.content);
      if (field.number == 3) node.name = field.content;
      if (field.number == 4) node.operation = field.content;
    }
    found.nodes.push_back(std::move(node));
  }

  void add(std::vector<std::string_view>& names, std::string_view name) {
    if (++names_ > most_names)
      refuse("a graph whose nodes have more than " + std::to_string(most_names) + " values");
    names.push_back(name);
  }

  void constant(std::string_view bytes) {
    OnnxConstant constant;
    std::string_view raw;
    std::string_view floats;
    std::string_view integers;
    bool is_raw = false;
    ProtobufFields fields(bytes);
    for (ProtobufField field; fields.next(field);) {
      if (field.number == 1) shape(field, constant.shape);
      if (!field.is_message && field.number == 2) constant.type = OnnxType{field.value};
      if (field.is_message && field.number == 4) floats = field.content;
      if (field.is_message && field.number == 5) integers = field.content;
      if (field.is_message && field.number == 8) constant.name = field.content;
      if (field.is_message && field.number == 9) {
        raw = field.content;
        is_raw = true;
      }
      if (!field.is_message && field.number == 14) constant.is_elsewhere = field.value != 0;
    }
    // On the wire a list of float32 is what memory has.
    const bool is_float = constant.type == OnnxType::float32;
    constant.content = is_raw ? raw : is_float ? floats : integers;
    constant.is_packed = !is_raw && !is_float;
    found.constants.push_back(std::move(constant));
  }

  // A list of numbers is written as one field or as one for each, and read either way.
  static void shape(const ProtobufField& field, OnnxShape& shape) {
    std::string_view rest = field.content;
    do {
      if (field.is_message && rest.empty()) return;
      if (shape.size() == most_dimensions)
        refuse("a constant of more than " + std::to_string(most_dimensions) + " dimensions");
      shape.push_back(
          static_cast<std::int64_t>(field.is_message ? take_varint(rest) : field.value));
    } while (!rest.empty());
  }

  std::size_t names_ = 0;
};

}  // namespace

std::string name_of(OnnxType type) {
  static constexpr const char* names[] = {"UNDEFINED",  "FLOAT",   "UINT8",  "INT8",   "UINT16",
                                          "INT16",      "INT32",   "INT64",  "STRING", "BOOL",
                                          "FLOAT16",    "DOUBLE",  "UINT32", "UINT64", "COMPLEX64",
                                          "COMPLEX128", "BFLOAT16"};
  const auto number = static_cast<std::uint64_t>(type);
  return number < std::size(names) ? names[number] : "type " + std::to_string(number);
}

OnnxGraph read_onnx_graph(const std::uint8_t* model, std::size_t size) {
  Reader reader;
  reader.model(std::string_view(reinterpret_cast<const char*>(model), size));
  return std::move(reader.found);
}

std::string shown(std::string_view name) {
  return printable(name.substr(0, longest_name)) + (name.size() > longest_name ? "..." : "");
}

}  // namespace levit

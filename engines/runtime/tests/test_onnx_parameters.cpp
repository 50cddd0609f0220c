#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "native_weights.hpp"
#include "onnx_bytes.hpp"
#include "onnx_parameters.hpp"
#include "refusal.hpp"

using namespace levit_test;

namespace {

const levit::ParameterShapes shapes{{"a.x.weight", {2, 3}}, {"a.x.bias", {2}}};
const std::vector<float> weights{1, 2, 3, 4, 5, 6};  // (outputs, inputs)
const std::string weight = floats("a.x.weight", {2, 3}, weights);
const std::string bias = floats("a.x.bias", {2}, {7, 8});

// The parameters as the kernels take them, in the order of their names.
std::vector<std::vector<float>> read(const std::string& graph,
                                     const levit::ParameterShapes& wanted = shapes,
                                     const std::set<std::string_view>& others = {}) {
  const std::string model = model_of(graph);
  const auto found = levit::read_parameters(
      levit::read_onnx_graph(reinterpret_cast<const std::uint8_t*>(model.data()), model.size()),
      wanted, others);
  const std::vector<std::pair<std::string, levit::OnnxShape>> order(wanted.begin(), wanted.end());
  levit::NativeWeights unpacked(order, found, {});
  std::vector<std::vector<float>> values;
  for (std::size_t index = 0; index < unpacked.count(); ++index) {
    const levit_native_parameter one = unpacked.unpack(index);
    CHECK(one.scales == nullptr);
    values.emplace_back(one.values, one.values + one.count);
  }
  return values;
}

std::string refused(const std::string& graph) {
  return refusal([&] { read(graph); });
}

using Values = std::vector<std::vector<float>>;
const Values expected{{7, 8}, weights};

}  // namespace

TEST_CASE("onnx parameters: by their paths, at any address") {
  CHECK(read(weight + bias) == expected);
  CHECK(read(bias + weight) == expected);
  for (const char* const text : {"", "1", "12", "123"})
    CHECK(read(field(10, text) + weight + bias) == expected);
  const std::string listed =
      constant("a.x.bias", float32, field(1, varint(2)) + field(4, bytes_of<float>({7, 8})));
  CHECK(read(listed + weight) == expected);
}

TEST_CASE("onnx parameters: weights of products are turned round") {
  const std::vector<float> turned{1, 4, 2, 5, 3, 6};
  for (const char* const name : {"a.x/MatMul:constant0", "a.x/MatMul_12:constant1"})
    CHECK(read(floats(name, {3, 2}, turned) + bias) == expected);
  for (const char* const name :
       {"a.x/MatMul:constant", "a.x/MatMul_:constant0", "a.xMatMul:constant0", "/MatMul:constant0",
        "a.x/MatMul1:constant0", "a.x/Add:constant0"})
    CHECK(refused(floats(name, {3, 2}, turned) + bias) ==
          std::string("the network has no parameter ") + name);
  // More than one square of the transposition.
  std::vector<float> large(70 * 45), turned_large(large.size());
  for (std::size_t row = 0; row < 70; ++row) {
    for (std::size_t column = 0; column < 45; ++column) {
      large[row * 45 + column] = static_cast<float>(row * 100 + column);
      turned_large[column * 70 + row] = large[row * 45 + column];
    }
  }
  CHECK(read(floats("a/MatMul:constant1", {45, 70}, turned_large), {{"a.weight", {70, 45}}}) ==
        Values{large});
}

TEST_CASE("onnx parameters: the attention bias of a single key may be missing") {
  CHECK(read(weight, {{"a.x.weight", {2, 3}}, {"b.attention.bias", {2, 4, 1}}}) ==
        Values{weights, std::vector<float>(8)});
  for (const levit::ParameterShapes& wanted :
       {levit::ParameterShapes{{"b.attention.bias", {2, 4, 2}}},
        levit::ParameterShapes{{"b.shift.bias", {2, 4, 1}}}}) {
    CHECK(refusal([&] { read("", wanted); }) ==
          "no constant is the network's parameter " + wanted.begin()->first);
  }
}

TEST_CASE("onnx parameters: dimensions of one around a shape say nothing") {
  CHECK(read(floats("a.x.weight", {2, 3, 1, 1}, weights) + bias) == expected);
  CHECK(read(weight + floats("a.x.bias", {2, 1, 1}, {7, 8})) == expected);
  CHECK(read(weight + floats("a.x.bias", {1, 1, 2}, {7, 8})) == expected);
  CHECK(refused(weight + floats("a.x.bias", {1, 2}, {7, 8})) ==
        "a.x.bias has shape (1, 2), the network's has (2,)");
}

TEST_CASE("onnx parameters: whole numbers and those of others are passed by") {
  const std::string ignored = constant("shape", int64, shape({9})) +
                              constant("elsewhere", int64, number_field(14, 1)) +
                              floats("scale", {1}, {1});
  CHECK(read(ignored + weight + bias, shapes, {"scale"}) == expected);
}

TEST_CASE("onnx parameters: modules that are equal share a constant") {
  const levit::ParameterShapes two{{"a.x.bias", {2}}, {"b.x.bias", {2}}};
  const std::string reads = node("b.x/Add", "Add", {"y", "a.x.bias"}, "z");
  CHECK(read(reads + bias, two) == Values{{7, 8}, {7, 8}});
  // What a module has of its own comes first.
  CHECK(read(reads + bias + floats("b.x.bias", {2}, {1, 2}), two) == Values{{7, 8}, {1, 2}});
  const auto refused_two = [&](const std::string& graph) {
    return refusal([&] { read(graph, two); });
  };
  CHECK(refused_two(node("b.y/Add", "Add", {"a.x.bias"}, "z") + bias) ==
        "no constant is the network's parameter b.x.bias");
  CHECK(refused_two(node("c.x/Add", "Add", {"a.x.bias"}, "z") + bias) ==
        "the network has no parameter c.x.bias");
  CHECK(read(node("b.x/Add", "Add", {"", ".bias", "bias"}, "z") + weight + bias) == expected);
}

TEST_CASE("onnx parameters: what the network does not have, or the graph, is named") {
  CHECK(refused(weight) == "no constant is the network's parameter a.x.bias");
  CHECK(refused("") == "no constant is the network's parameter a.x.bias");
  CHECK(refused(weight + bias + floats("more", {1}, {1})) == "the network has no parameter more");
  CHECK(refused(weight + bias + bias) == "two constants are a.x.bias");
  CHECK(refused(weight + floats("a.x/MatMul:constant1", {3, 2}, weights)) ==
        "two constants are a.x.weight");
  CHECK(refused(weight + floats("a.x.bias", {3}, {7, 8, 9})) ==
        "a.x.bias has shape (3,), the network's has (2,)");
  CHECK(refused(weight + constant("a.x.bias", float32, "")) ==
        "a.x.bias has shape (), the network's has (2,)");
  CHECK(refused(floats("a.x/MatMul:constant1", {2, 3}, weights) + bias) ==
        "a.x.weight has shape (3, 2), the network's has (2, 3)");
  CHECK(refused(floats("a.x/MatMul:constant1", {1, 1, 3, 2}, weights) + bias) ==
        "a.x.weight has shape (2, 3, 1, 1), the network's has (2, 3)");
  CHECK(refused(weight + constant("a.x.bias", float16, shape({2}))) ==
        "a.x.bias is FLOAT16, wanted is FLOAT");
  CHECK(refused(weight + constant("a.x.bias", 99, shape({2}))) ==
        "a.x.bias is type 99, wanted is FLOAT");
  CHECK(refused(weight + constant("a.x.bias", float32, shape({2}) + number_field(14, 1))) ==
        "a.x.bias is in another file");
  const std::string endless(1000, 'x');
  CHECK(refused(floats(endless, {1}, {1})).size() < 300);
}

TEST_CASE("onnx parameters: numbers that are not as many as the shape has are refused") {
  const std::string damaged = "a.x.bias is damaged";
  CHECK(refused(weight + floats("a.x.bias", {2}, {7})) == damaged);
  CHECK(refused(weight + floats("a.x.bias", {2}, {7, 8, 9})) == damaged);
  CHECK(refused(weight + constant("a.x.bias", float32, shape({2}))) == damaged);
  CHECK(refused(weight + constant("a.x.bias", float32, shape({2}) + field(9, "1234567"))) ==
        damaged);
  // Sides whose product is small again, or whose sum of bits is none.
  const std::uint64_t half = std::uint64_t{1} << 63;
  CHECK(contains(refused(weight + floats("a.x.bias", {half, 2}, {7, 8})), "has shape (-9223"));
  CHECK(contains(refused(weight + floats("a.x.bias", {UINT64_MAX}, {7, 8})), "has shape (-1,)"));
}

TEST_CASE("onnx graph: bytes that are no model, and models out of proportion, are refused") {
  const auto refused_model = [](const std::string& model) {
    return refusal([&] {
      levit::read_onnx_graph(reinterpret_cast<const std::uint8_t*>(model.data()), model.size());
    });
  };
  const std::string whole = model_of(weight + bias);
  for (std::size_t size = 1; size < whole.size(); ++size)
    CHECK(refused_model(whole.substr(0, size)) == "not an ONNX model");
  CHECK(refused_model(model_of(field(5, field(1, "\x80")))) == "not an ONNX model");
  CHECK(contains(refused_model(model_of(field(5, field(1, std::string(9, '\1'))))),
                 "more than 8 dimensions"));
  std::string many;
  for (int count = 0; count <= 1 << 16; ++count) many += field(1, "");
  CHECK(contains(refused_model(model_of(many)), "more than 65536 nodes or constants"));
  std::string values;
  for (int count = 0; count <= 1 << 18; ++count) values += field(1, "");
  CHECK(contains(refused_model(model_of(field(1, values))), "more than 262144 values"));
  CHECK(refused_model("").empty());
}

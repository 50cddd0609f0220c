#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "native_weights.hpp"
#include "onnx_bytes.hpp"
#include "onnx_quantized.hpp"
#include "refusal.hpp"

using namespace levit_test;

namespace {

const levit::ParameterShapes shapes{{"a.weight", {2, 3}}, {"a.bias", {2}}};

// A layer of two outputs and three inputs, each part of which a test may replace.
struct Layer {
  std::string rounded = node("a/QuantizeLinear", "QuantizeLinear", {"x", "s", "o"}, "q");
  std::string restored = node("a/DequantizeLinear", "DequantizeLinear", {"q", "s", "o"}, "d");
  std::string unpacked = node("a/DequantizeLinear_1", "DequantizeLinear", {"w", "ws", "wz"}, "e");
  std::string product = node("a/MatMul", "MatMul", {"d", "e"}, "y");
  std::string scale = constant("s", float32, field(4, bytes_of<float>({0.5F})));
  std::string offset = constant("o", uint8, field(5, varint(200)));
  std::string weights =
      constant("w", int8, shape({3, 2}) + field(9, bytes_of<signed char>({1, 2, 3, 4, -64, 64})));
  std::string scales = constant("ws", float32, shape({2}) + field(4, bytes_of<float>({1, 2})));
  std::string zeros = constant("wz", int8, shape({2}) + field(5, std::string(2, '\0')));

  std::string model() const {
    return model_of(rounded + restored + unpacked + product + scale + offset + weights + scales +
                    zeros);
  }
};

levit::QuantizedLayers read(const std::string& model) {
  return levit::read_quantized(
      levit::read_onnx_graph(reinterpret_cast<const std::uint8_t*>(model.data()), model.size()),
      shapes);
}

template <typename Spoil>
std::string refused(const Spoil& spoil) {
  Layer layer;
  spoil(layer);
  return refusal([&] { read(layer.model()); });
}

constexpr const char* not_ours = "a quantised layer is not as levit-export writes it";

}  // namespace

TEST_CASE("quantised layers: weights are turned round and have their scales") {
  const std::string model = Layer().model();
  levit::QuantizedLayers found = read(model);
  REQUIRE(found.by_path.size() == 1);
  CHECK(found.constants == std::set<std::string_view>{"x", "s", "o", "q", "w", "ws", "wz"});
  levit::NativeWeights weights({{"a.weight", {2, 3}}}, {}, std::move(found.by_path));
  const levit_native_parameter one = weights.unpack(0);
  CHECK(std::vector<float>(one.values, one.values + one.count) ==
        std::vector<float>{1, 3, -64, 2, 4, 64});
  CHECK(std::vector<float>(one.scales, one.scales + 2) == std::vector<float>{1, 2});
  CHECK(one.input_scale == 0.5F);
  CHECK(one.input_offset == 200);
}

TEST_CASE("quantised layers: numbers may be written either way") {
  Layer layer;
  layer.offset = constant("o", uint8, field(9, "\xC8"));
  layer.scale = constant("s", float32, shape({1}) + field(9, bytes_of<float>({0.5F})));
  layer.zeros = constant("wz", int8, shape({2}) + field(9, std::string(2, '\0')));
  CHECK(read(layer.model()).by_path.at("a.weight").input_offset == 200);
}

TEST_CASE("quantised layers: other products are passed by") {
  CHECK(read(model_of(node("a/MatMul", "MatMul", {"d", "e"}, "y"))).by_path.empty());
  CHECK(refusal([] { read(model_of(node("a/MatMul", "MatMul", {"d"}, "y"))); }) == not_ours);
}

TEST_CASE("quantised layers: what levit-export would not have written is refused") {
  const auto weights = [](const std::vector<signed char>& values) {
    return constant("w", int8, shape({3, 2}) + field(9, bytes_of(values)));
  };
  const auto scales = [](float first, float second) {
    return constant("ws", float32, shape({2}) + field(4, bytes_of<float>({first, second})));
  };
  const auto scale = [](const std::vector<float>& values) {
    return constant("s", float32, field(4, bytes_of(values)));
  };
  CHECK(refused([](Layer& one) { one.rounded = ""; }) == not_ours);
  CHECK(refused([](Layer& one) { one.restored = ""; }) == not_ours);
  CHECK(refused([](Layer& one) { one.rounded = node("", "QuantizeLinear", {"x", "s"}, "q"); }) ==
        not_ours);
  CHECK(refused([](Layer& one) { one.restored = node("", "DequantizeLinear", {}, "d"); }) ==
        not_ours);
  CHECK(refused([](Layer& one) {
          one.unpacked = node("", "DequantizeLinear", {"w", "ws"}, "e");
        }) == not_ours);
  CHECK(refused([](Layer& one) { one.rounded = node("", "Relu", {"x", "s", "o"}, "q"); }) ==
        not_ours);
  CHECK(refused([](Layer& one) { one.scales = ""; }) == not_ours);
  CHECK(refused([&](Layer& one) { one.weights = weights({1, 2, 3, 4, 65, 6}); }) == not_ours);
  CHECK(refused([&](Layer& one) { one.weights = weights({1, 2, 3, 4, -128, 6}); }) == not_ours);
  CHECK(refused([&](Layer& one) { one.weights = weights({1, 2, 3, 4, 5}); }) == not_ours);
  CHECK(refused([](Layer& one) {
          one.weights =
              constant("w", int8, shape({3, 2}) + number_field(14, 1) + field(9, "123456"));
        }) == not_ours);
  CHECK(refused([](Layer& one) {
          one.weights = constant("w", int8, shape({3, 2}) + field(5, "123456"));
        }) == not_ours);
  CHECK(refused([&](Layer& one) { one.scales = scales(1, 0); }) == not_ours);
  CHECK(refused([&](Layer& one) { one.scales = scales(1, -1); }) == not_ours);
  CHECK(refused([&](Layer& one) { one.scales = scales(1, INFINITY); }) == not_ours);
  CHECK(refused([](Layer& one) {
          one.scales = constant("ws", float32, shape({2}) + field(4, bytes_of<float>({1})));
        }) == not_ours);
  CHECK(refused([&](Layer& one) { one.scale = scale({NAN}); }) == not_ours);
  CHECK(refused([&](Layer& one) { one.scale = scale({1, 2}); }) == not_ours);
  CHECK(refused([&](Layer& one) { one.scale = scale({}); }) == not_ours);
  CHECK(refused([](Layer& one) { one.offset = constant("o", uint8, field(5, varint(256))); }) ==
        not_ours);
  CHECK(refused([](Layer& one) { one.offset = constant("o", uint8, field(5, "\1\1")); }) ==
        not_ours);
  CHECK(refused([](Layer& one) { one.offset = constant("o", uint8, ""); }) == not_ours);
  CHECK(refused([](Layer& one) { one.offset = constant("o", int8, field(5, "\1")); }) == not_ours);
  CHECK(refused([](Layer& one) {
          one.zeros = constant("wz", int8, shape({2}) + field(5, "\1\1"));
        }) == not_ours);
  CHECK(refused([](Layer& one) { one.product += one.product; }) == not_ours);
}

TEST_CASE("quantised layers: those of another network are named") {
  CHECK(refused([](Layer& one) { one.product = node("b/MatMul", "MatMul", {"d", "e"}, "y"); }) ==
        "b.weight is of another network");
  CHECK(refused([](Layer& one) {
          one.weights = constant("w", int8, shape({2, 2}) + field(9, "1234"));
        }) == "a.weight is of another network");
  CHECK(refused([](Layer& one) {
          one.weights = constant("w", int8, shape({3, 0}) + field(9, ""));
          one.scales = constant("ws", float32, shape({0}));
          one.zeros = constant("wz", int8, shape({0}));
        }) == "a.weight is of another network");
}

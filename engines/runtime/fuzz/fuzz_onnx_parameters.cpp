// model.onnx as the native provider reads it: whatever the bytes, parameters of the sizes that were
// asked for or an Error.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <utility>

#include "error.hpp"
#include "native_weights.hpp"
#include "onnx_graph.hpp"
#include "onnx_parameters.hpp"
#include "onnx_quantized.hpp"
#include "reached.hpp"

namespace {

void read_all(const std::uint8_t* data, std::size_t size) {
  const std::vector<std::pair<std::string, levit::OnnxShape>> order{
      {"a.x.weight", {2, 3}}, {"a.x.bias", {2}}, {"b.x.weight", {2, 2}}, {"b.x.bias", {2}}};
  levit::ParameterShapes shapes(order.begin(), order.end());
  const levit::OnnxGraph graph = levit::read_onnx_graph(data, size);
  levit::QuantizedLayers quantized = levit::read_quantized(graph, shapes);
  for (const auto& layer : quantized.by_path) shapes.erase(layer.first);
  const auto floats = levit::read_parameters(graph, shapes, quantized.constants);
  levit::NativeWeights weights(order, floats, std::move(quantized.by_path));
  for (std::size_t index = 0; index < weights.count(); ++index) {
    const levit_native_parameter given = weights.unpack(index);
    std::size_t wanted = 1;
    for (const std::int64_t side : order[index].second) wanted *= static_cast<std::size_t>(side);
    if (given.count != wanted) std::abort();
  }
  ++levit_fuzz::reached();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    read_all(data, size);
  } catch (const levit::Error&) {  // the only exception that may leave
  }
  return 0;
}

// As levit_engines.native.opening does it in Python.
#include "open_native.hpp"

#include <memory>
#include <set>
#include <utility>

#include "error.hpp"
#include "native_network.hpp"
#include "native_parameters.hpp"
#include "native_weights.hpp"
#include "onnx_graph.hpp"
#include "onnx_parameters.hpp"
#include "onnx_quantized.hpp"
#include "text.hpp"

namespace levit {
namespace {

constexpr const char* model_file = "model.onnx";
constexpr std::size_t byte_values = 256;

void require_precision(const Bundle& bundle) {
  const Manifest& manifest = bundle.manifest();
  const std::string path = printable(bundle.path());
  if (manifest.precision != "fp32" && manifest.precision != "int8") {
    throw Error(Status::argument,
                path + " is " + printable(manifest.precision) +
                    ", the provider native takes fp32 and int8: choose another provider, or "
                    "export it with --precision fp32");
  }
  if (manifest.precision == "int8" && manifest.target != "cpu") {
    throw Error(Status::argument, path +
                                      " is int8 for GPUs, the provider native takes that for CPUs: "
                                      "export it with --target cpu");
  }
}

// (3, 256): what every byte of each channel becomes in a graph that takes pixels.
std::vector<float> normalized_bytes(const std::vector<float>& scale,
                                    const std::vector<float>& shift) {
  std::vector<float> normalized;
  for (std::size_t channel = 0; channel < scale.size(); ++channel) {
    for (std::size_t byte = 0; byte < byte_values; ++byte)
      normalized.push_back(static_cast<float>(byte) * scale[channel] + shift[channel]);
  }
  return normalized;
}

std::unique_ptr<NativeNetwork> make_network(const Manifest& manifest,
                                            const std::vector<std::uint8_t>& model,
                                            std::uint32_t threads) {
  const OnnxGraph graph = read_onnx_graph(model.data(), model.size());
  const auto order = native_parameters(manifest);
  ParameterShapes shapes(order.begin(), order.end());
  QuantizedLayers quantized;
  if (manifest.precision == "int8") quantized = read_quantized(graph, shapes);
  for (const auto& layer : quantized.by_path) shapes.erase(layer.first);
  const bool takes_pixels = manifest.input.dtype == "uint8";
  if (takes_pixels) {
    for (const char* const path : {pixels_scale, pixels_shift})
      shapes.emplace(path, pixels_shape());
  }
  const auto floats = read_parameters(graph, shapes, quantized.constants);
  std::vector<float> normalized;
  if (takes_pixels) {
    normalized =
        normalized_bytes(floats_of(floats.at(pixels_scale)), floats_of(floats.at(pixels_shift)));
  }
  NativeWeights weights(order, floats, std::move(quantized.by_path));
  return std::make_unique<NativeNetwork>(manifest, weights, std::move(normalized), threads);
}

}  // namespace

std::string native_instruction_set() { return native::find_kernels("")->name; }

OpenedNetwork open_native(const Bundle& bundle, std::uint32_t threads) {
  require_precision(bundle);
  const Manifest& manifest = bundle.manifest();
  OpenedNetwork opened;
  opened.batches = {manifest.batch_minimum, manifest.batch_maximum, manifest.batch_verified};
  opened.provider = "native";
  opened.graph = model_file;
  const std::vector<std::uint8_t> model = bundle.read(model_file);
  try {
    std::unique_ptr<NativeNetwork> network = make_network(manifest, model, threads);
    opened.instruction_set = network->instruction_set();
    opened.network = std::move(network);
  } catch (const Error& error) {
    if (error.status() != Status::input) throw;
    throw Error(Status::input,
                printable(bundle.file(model_file)) + ": " + error.what() + "; export it again");
  }
  return opened;
}

}  // namespace levit

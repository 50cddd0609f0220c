#include "open_onnxruntime.hpp"

#include <memory>

#include "built_graph.hpp"
#include "error.hpp"
#include "onnxruntime_library.hpp"
#include "onnxruntime_providers.hpp"
#include "text.hpp"

namespace levit {
namespace {

constexpr const char* model_file = "model.onnx";

// A session on the optimised graph; nullptr, and the reason, when it cannot serve here: the bundle
// can do without it. Only files that were altered are refused, as everywhere.
std::unique_ptr<Network> open_built(const Bundle& bundle, const OnnxRuntime& runtime,
                                    const SessionSettings& settings, const EngineEntry& entry,
                                    std::string& reason) {
  reason = reason_not_to_use(bundle.manifest(), entry, runtime.version);
  if (!reason.empty()) return nullptr;
  const std::string& file = entry.files.front();
  const std::string folder = file.substr(0, file.rfind('/') + 1);
  GraphFiles graph{bundle.file(file), "build it again", bundle.read(file), {}, true};
  for (const std::string& other : entry.files) {
    // The model names its weights from where it lies.
    if (other != file && other.compare(0, folder.size(), folder) == 0)
      graph.weights.emplace(other.substr(folder.size()), bundle.read(other));
  }
  try {
    return std::make_unique<OnnxRuntimeSession>(runtime, settings, bundle.manifest(), graph);
  } catch (const Error& error) {
    reason = error.what();
    return nullptr;
  }
}

}  // namespace

OpenedNetwork open_onnxruntime(const Bundle& bundle, const SessionSettings& settings,
                               const std::string& library, bool use_built_graph) {
  const Manifest& manifest = bundle.manifest();
  const OnnxRuntime& runtime = load_onnxruntime(library);
  OpenedNetwork opened;
  opened.batches = {manifest.batch_minimum, manifest.batch_maximum, manifest.batch_verified};
  opened.provider = provider_name(settings.provider);
  opened.onnxruntime_version = runtime.version;
  opened.onnxruntime_library = runtime.path;
  const auto built = manifest.engines.find(built_graph_engine);
  const bool on_cpu = settings.provider == LEVIT_PROVIDER_CPU;
  if (on_cpu && manifest.precision == "bf16") {
    throw Error(Status::argument,
                bundle.path() +
                    " is bf16, which ONNX Runtime has no kernels for on a CPU: choose the provider "
                    "cuda or tensorrt, or export it with --precision fp16");
  }
  if (on_cpu && use_built_graph && built != manifest.engines.end()) {
    std::string reason;
    opened.network = open_built(bundle, runtime, settings, built->second, reason);
    opened.graph = built->second.files.front();
    if (opened.network != nullptr) return opened;
    opened.note = printable("the optimised graph of the bundle is not used, " + reason +
                            ": ONNX Runtime optimises " + model_file + " again; levit-build " +
                            bundle.path() + " --engine " + built_graph_engine +
                            " --overwrite makes one that fits");
  }
  opened.graph = model_file;
  const GraphFiles graph{
      bundle.file(model_file), "export it again", bundle.read(model_file), {}, false};
  opened.network = std::make_unique<OnnxRuntimeSession>(runtime, settings, manifest, graph);
  return opened;
}

}  // namespace levit

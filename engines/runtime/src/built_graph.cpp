#include "built_graph.hpp"

#include <map>

#include "cpu_features.hpp"

namespace levit {

std::string reason_not_to_use(const Manifest& manifest, const EngineEntry& entry,
                              const std::string& onnxruntime_version) {
  const auto model = manifest.members.find("model.onnx");
  if (model == manifest.members.end() || entry.model_sha256 != model->second.sha256) {
    return "it was made from another model.onnx";
  }
  std::map<std::string, std::string> here = cpu_requirements();
  here["onnxruntime"] = onnxruntime_version;
  std::map<std::string, std::string> wanted = entry.libraries;
  for (const auto& [name, value] : entry.requirements) wanted[name] = value;
  for (const char* name : {"onnxruntime", "architecture", "instruction set"}) {
    const auto found = wanted.find(name);
    const std::string value = found == wanted.end() ? "" : found->second;
    if (value.empty() || value != here[name]) {
      const auto shown = [](const std::string& text) { return text.empty() ? "nothing" : text; };
      return "it was made for " + std::string(name) + " " + shown(value) + ", here is " +
             shown(here[name]);
    }
  }
  return {};
}

}  // namespace levit

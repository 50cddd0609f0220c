#include "built_graph.hpp"

#include <map>

#include "cpu_features.hpp"

namespace levit {

std::string misfit(const Manifest& manifest, const EngineEntry& entry,
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
    const std::string value = found == wanted.end() ? "nothing" : found->second;
    if (value != here[name])
      return "it was made for " + std::string(name) + " " + value + ", here is " + here[name];
  }
  return {};
}

}  // namespace levit

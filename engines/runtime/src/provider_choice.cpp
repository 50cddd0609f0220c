#include "provider_choice.hpp"

namespace levit {
namespace {

// Only of graphs that levit-export wrote, which name their form, are the constants known.
bool native_takes(const Manifest& manifest) {
  if (!manifest.names_form) return false;
  return manifest.precision == "fp32" || (manifest.precision == "int8" && manifest.target == "cpu");
}

// Measured: docs/design/native-kernels.md.
bool is_fastest_with(const std::string& instruction_set) {
  return instruction_set == "amx" || instruction_set == "avx512-vnni" ||
         instruction_set == "avx512";
}

}  // namespace

levit_provider fastest_provider(const Manifest& manifest, const std::string& instruction_set,
                                const std::function<bool()>& finds_onnxruntime) {
  if (!native_takes(manifest)) return LEVIT_PROVIDER_CPU;
  const bool chosen = is_fastest_with(instruction_set) || !finds_onnxruntime();
  return chosen ? LEVIT_PROVIDER_NATIVE : LEVIT_PROVIDER_CPU;
}

}  // namespace levit

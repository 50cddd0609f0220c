// A bundle with a plan of TensorRT that fits this machine, for tests to spoil.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "plan_choice.hpp"
#include "temporary_bundle.hpp"

namespace levit_test {

inline const std::string plan_file = "engines/ort/model.ort";
inline const std::string plan_content = "x";

// The manifest of such a bundle, with further edits.
inline std::string plan_manifest(
    const std::vector<std::pair<std::string, std::string>>& edits = {}) {
  const std::string model_digest = digest_of(model);
  std::string text = edited(valid_manifest(), valid_digest, model_digest);
  text = edited(text, valid_digest, digest_of(plan_content));
  text = edited(text, "onnxruntime-cpu", "tensorrt");
  text = edited(text, R"("model_sha256": "x")", R"("model_sha256": ")" + model_digest + '"');
  text = edited(text, R"({"onnxruntime": "1.31"})", R"({"tensorrt": "10.13.3.9"})");
  text = edited(
      text, R"({"cpu": "avx2"})",
      R"({"compute_capabilities": "8.6, 8.9", "platform": ")" + levit::platform_here() + "\"}");
  for (const auto& [from, to] : edits) text = edited(text, from, to);
  return text;
}

class PlanBundle : public TemporaryBundle {
 public:
  explicit PlanBundle(const std::vector<std::pair<std::string, std::string>>& edits = {}) {
    write("manifest.json", plan_manifest(edits));
  }
};

}  // namespace levit_test

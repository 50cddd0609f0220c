// A manifest that is accepted, for tests to spoil.
#pragma once

#include <stdexcept>
#include <string>

namespace levit_test {

inline const std::string valid_digest(64, 'a');

inline std::string valid_manifest() {
  return R"({"schema_version": 1, "name": "tiny",
 "network": {"arch": "128S", "embed_dims": [128, 256, 384], "heads": [4, 6, 8], "depths": [2, 3, 4], "key_dim": 16,
             "num_classes": 5, "image_size": 32, "distillation": true},
 "precision": "fp32", "target": "cpu",
 "weights": {"origin": "untrained"}, "versions": {"onnx": "1.18"},
 "preprocessing": {"colour": "RGB", "interpolation": "bicubic, antialiased",
   "resize_pass_order": "horizontal, vertical", "resize_longer_side": "truncated", "crop": "centre", "scale": "1/255",
   "layout": "NCHW", "exif_orientation": "ignored", "resize_shorter_side": 36, "image_size": 32,
   "crop_rounding": "half_even", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
 "input": {"name": "images", "dtype": "float32", "layout": "NCHW", "shape": ["batch", 3, 32, 32]},
 "outputs": [{"name": "logits", "dtype": "float32", "layout": "NC", "shape": ["batch", 5]}],
 "batch_sizes": {"minimum": 1, "maximum": 4, "verified": [1, 4]},
 "graph": {}, "parity": {}, "golden_tolerance": [0.5, 1],
 "members": {"model.onnx": {"size_bytes": 7, "sha256": ")" +
         valid_digest + R"("}, "engines/ort/model.ort": {"size_bytes": 1, "sha256": ")" +
         valid_digest + R"("}},
 "engines": {"onnxruntime-cpu": {"files": ["engines/ort/model.ort"], "model_sha256": "x",
   "libraries": {"onnxruntime": "1.31"}, "requirements": {"cpu": "avx2"},
   "profile": {"minimum": 1, "optimum": 1, "maximum": 4}, "options": {}, "network": {}, "machine": {},
   "build_seconds": 1.5, "verified": "golden"}}})";
}

// `text` with the first `from` replaced; an edit that changes nothing tests nothing.
inline std::string edited(std::string text, const std::string& from, const std::string& to) {
  const std::size_t place = text.find(from);
  if (place == std::string::npos) throw std::logic_error("the manifest has no " + from);
  return text.replace(place, from.size(), to);
}

}  // namespace levit_test

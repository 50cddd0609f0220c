// manifest.json, read as strictly as the Python package reads it.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace levit {

struct Member {
  std::uint64_t size_bytes = 0;
  std::string sha256;
};

struct Tensor {
  std::string name;
  std::string dtype;                // as the manifest spells it: "float32", "int64"
  std::vector<std::int64_t> shape;  // -1 where the manifest names a dynamic axis
};

// The sizes of one of the five variants; those of a list are of its three stages.
struct Architecture {
  std::array<int, 3> embed_dims{};
  std::array<int, 3> heads{};
  std::array<int, 3> depths{};
  int key_dim = 0;
};

// The preprocessing contract; docs/reference/bundle.md names every field.
struct Preprocessing {
  int image_size = 0;
  int resize_size = 0;
  float mean[3] = {0, 0, 0};
  float std[3] = {1, 1, 1};
  std::string crop_rounding;  // "half_even" or "floor"
  bool apply_exif_orientation = false;
};

// Batch sizes that an engine was built for.
struct Profile {
  std::int64_t minimum = 1;
  std::int64_t maximum = 1;
};

struct EngineEntry {
  std::vector<std::string> files;
  std::string model_sha256;
  std::map<std::string, std::string> libraries;
  std::map<std::string, std::string> requirements;
  Profile profile;
};

struct Manifest {
  std::string name;
  std::string arch;
  Architecture architecture;
  std::string precision;
  std::string target;          // "cpu" or "gpu"
  std::string weights_origin;  // "untrained" when the classes mean nothing
  bool names_form = false;     // of its graph, as only levit-export's do
  int num_classes = 0;
  Preprocessing preprocessing;
  Tensor input;
  std::vector<Tensor> outputs;
  int batch_minimum = 1;
  int batch_maximum = 1;
  std::vector<int> batch_verified;  // the sizes that were run when the bundle was written
  std::vector<double> golden_tolerance;
  std::map<std::string, Member> members;
  std::map<std::string, EngineEntry> engines;
};

// Largest manifest.json that is read at all.
constexpr std::uint64_t max_manifest_bytes = std::uint64_t{4} << 20;
constexpr std::uint64_t max_member_bytes = std::uint64_t{4} << 30;

// Throws Error(input), naming the field at fault.
Manifest parse_manifest(const std::string& text);

}  // namespace levit

// A bundle on disk: nothing of it is used before its size and sha256 are those of the manifest.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "manifest.hpp"

namespace levit {

struct Golden {
  int count = 0;
  int side = 0;
  std::vector<std::uint8_t> images;  // count * side * side * 3, RGB
  std::vector<double> logits;        // count * classes
  std::vector<std::string> names;
};

class Bundle {
 public:
  // Reads and checks the manifest, which must list model.onnx. Throws Error(input).
  explicit Bundle(const std::string& path);

  const std::string& path() const { return path_; }
  const Manifest& manifest() const { return manifest_; }

  // The bytes of a member, size and hash checked. Throws Error(input) when it is absent, a link, or
  // altered.
  std::vector<std::uint8_t> read(const std::string& member) const;

  std::string file(const std::string& member) const;  // its path

  // Class names by index; as many as the network has classes.
  std::vector<std::string> labels() const;

  // The golden images and logits, their shapes checked against the manifest.
  Golden golden() const;

 private:
  const Member& listed(const std::string& member) const;

  std::string path_;
  Manifest manifest_;
};

}  // namespace levit

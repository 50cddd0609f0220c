// A bundle on disk that ends with the test.
#pragma once

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "manifest_text.hpp"
#include "sha256.hpp"

namespace levit_test {

inline const std::string model = "a model";

inline std::string digest_of(const std::string& content) {
  return levit::sha256_of(reinterpret_cast<const std::uint8_t*>(content.data()), content.size());
}

// A folder with a manifest, model.onnx of seven bytes and one engine file; gone at the end of the
// test.
class TemporaryBundle {
 public:
  TemporaryBundle() {
    std::string pattern = (std::filesystem::temp_directory_path() / "levit-bundle-XXXXXX").string();
    REQUIRE(mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
    std::filesystem::create_directories(path_ / "engines/ort");
    write("model.onnx", model);
    write("engines/ort/model.ort", "x");
    write("manifest.json", edited(valid_manifest(), valid_digest, digest_of(model)));
  }
  ~TemporaryBundle() { std::filesystem::remove_all(path_); }
  TemporaryBundle(const TemporaryBundle&) = delete;
  TemporaryBundle& operator=(const TemporaryBundle&) = delete;

  void write(const std::string& name, const std::string& content) const {
    std::ofstream(path_ / name, std::ios::binary) << content;
  }
  std::string path() const { return path_.string(); }
  std::filesystem::path file(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

}  // namespace levit_test

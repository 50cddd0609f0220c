#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "bundle.hpp"
#include "manifest_text.hpp"
#include "refusal.hpp"
#include "sha256.hpp"

using levit_test::contains;
using levit_test::edited;
using levit_test::refusal;

namespace {

namespace fs = std::filesystem;

const std::string model = "a model";

// A folder with a manifest, model.onnx of seven bytes and one engine file; gone at the end of the
// test.
class TemporaryBundle {
 public:
  TemporaryBundle() {
    std::string pattern = (fs::temp_directory_path() / "levit-bundle-XXXXXX").string();
    REQUIRE(mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
    fs::create_directories(path_ / "engines/ort");
    write("model.onnx", model);
    write("engines/ort/model.ort", "x");
    const std::string digest =
        levit::sha256_of(reinterpret_cast<const std::uint8_t*>(model.data()), model.size());
    write("manifest.json", edited(levit_test::valid_manifest(), levit_test::valid_digest, digest));
  }
  ~TemporaryBundle() { fs::remove_all(path_); }
  TemporaryBundle(const TemporaryBundle&) = delete;
  TemporaryBundle& operator=(const TemporaryBundle&) = delete;

  void write(const std::string& name, const std::string& content) const {
    std::ofstream(path_ / name, std::ios::binary) << content;
  }
  std::string path() const { return path_.string(); }
  fs::path file(const std::string& name) const { return path_ / name; }
  std::string refused_read(const std::string& member) const {
    return refusal([&] { levit::Bundle(path()).read(member); });
  }

 private:
  fs::path path_;
};

}  // namespace

TEST_CASE("bundle: members are read through their hashes") {
  const TemporaryBundle folder;
  const levit::Bundle bundle(folder.path() + "//");
  CHECK(bundle.path() == folder.path());
  const std::vector<std::uint8_t> content = bundle.read("model.onnx");
  CHECK(std::string(content.begin(), content.end()) == model);
  CHECK(bundle.file("model.onnx") == folder.path() + "/model.onnx");
  CHECK(contains(folder.refused_read("labels.txt"), "lists no 'labels.txt'"));
  CHECK(contains(folder.refused_read("engines/ort/model.ort"), "altered or damaged"));
}

TEST_CASE("bundle: altered, shortened, lengthened and missing members are refused") {
  const TemporaryBundle folder;
  for (const char* const content : {"a modeL", "a mode", "a model ", ""}) {
    folder.write("model.onnx", content);
    CHECK(contains(folder.refused_read("model.onnx"), "altered or damaged"));
  }
  fs::remove(folder.file("model.onnx"));
  CHECK(contains(folder.refused_read("model.onnx"), "missing, or not a plain file"));
}

TEST_CASE("bundle: a size that the file does not have is refused before memory is taken") {
  const TemporaryBundle folder;
  const std::string text =
      edited(levit_test::valid_manifest(), "\"size_bytes\": 7", "\"size_bytes\": 4294967296");
  folder.write("manifest.json", text);
  CHECK(contains(folder.refused_read("model.onnx"), "altered or damaged"));
}

TEST_CASE("bundle: links, folders and pipes in the place of a member are refused") {
  const TemporaryBundle folder;
  const TemporaryBundle other;
  const auto refuse_all = [&] {
    CHECK(contains(folder.refused_read("model.onnx"), "missing, or not a plain file"));
    fs::remove_all(folder.file("model.onnx"));
  };
  fs::remove(folder.file("model.onnx"));
  fs::create_symlink(other.file("model.onnx"), folder.file("model.onnx"));
  refuse_all();
  fs::create_symlink("engines/ort/model.ort",
                     folder.file("model.onnx"));  // even one that stays inside
  refuse_all();
  fs::create_symlink("model.onnx", folder.file("model.onnx"));  // a circle
  refuse_all();
  fs::create_directory(folder.file("model.onnx"));
  refuse_all();
  REQUIRE(mkfifo(folder.file("model.onnx").c_str(), 0600) == 0);  // must not block
  refuse_all();
  fs::remove_all(folder.file("engines"));
  fs::create_directory_symlink(other.file("engines"), folder.file("engines"));
  CHECK(contains(folder.refused_read("engines/ort/model.ort"), "missing, or not a plain file"));
}

TEST_CASE("bundle: the folder itself may be reached through a link") {
  const TemporaryBundle folder;
  const fs::path link = folder.path() + ".link";
  fs::create_directory_symlink(folder.path(), link);
  CHECK(levit::Bundle(link.string()).read("model.onnx").size() == model.size());
  fs::remove(link);
}

TEST_CASE("bundle: what is no bundle is refused on one line") {
  const TemporaryBundle folder;
  const auto refused = [&](const std::string& path) {
    return refusal([&] { levit::Bundle{path}; });
  };
  CHECK(contains(refused(folder.path() + "/absent"), "is not a folder"));
  CHECK(contains(refused(folder.path() + "/model.onnx"), "is not a folder"));
  CHECK(contains(refused(folder.path() + "/engines"), "has no manifest.json"));
  CHECK(contains(refused(""), "not a bundle"));
  CHECK_FALSE(contains(refused("two\nlines\x1b"), "\n"));
  folder.write("manifest.json",
               edited(levit_test::valid_manifest(), "{\"model.onnx\"", "{\"other.onnx\""));
  CHECK(contains(refused(folder.path()), "model.onnx is not among its members"));
  folder.write("manifest.json", std::string(levit::max_manifest_bytes + 1, ' '));
  CHECK(contains(refused(folder.path()), "larger than"));
  fs::remove(folder.file("manifest.json"));
  fs::create_symlink("model.onnx", folder.file("manifest.json"));
  CHECK(contains(refused(folder.path()), "not a plain file"));
}

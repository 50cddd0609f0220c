#include <doctest/doctest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>

#include "bundle.hpp"
#include "manifest_text.hpp"
#include "refusal.hpp"
#include "temporary_bundle.hpp"

using levit_test::contains;
using levit_test::edited;
using levit_test::refusal;

namespace {

namespace fs = std::filesystem;
using levit_test::model;
using levit_test::TemporaryBundle;

std::string refused_read(const TemporaryBundle& folder, const std::string& member) {
  return refusal([&] { levit::Bundle(folder.path()).read(member); });
}

}  // namespace

TEST_CASE("bundle: members are read through their hashes") {
  const TemporaryBundle folder;
  const levit::Bundle bundle(folder.path() + "//");
  CHECK(bundle.path() == folder.path());
  const std::vector<std::uint8_t> content = bundle.read("model.onnx");
  CHECK(std::string(content.begin(), content.end()) == model);
  CHECK(bundle.file("model.onnx") == folder.path() + "/model.onnx");
  CHECK(contains(refused_read(folder, "labels.txt"), "lists no 'labels.txt'"));
  CHECK(contains(refused_read(folder, "engines/ort/model.ort"), "altered or damaged"));
}

TEST_CASE("bundle: altered, shortened, lengthened and missing members are refused") {
  const TemporaryBundle folder;
  for (const char* const content : {"a modeL", "a mode", "a model ", ""}) {
    folder.write("model.onnx", content);
    CHECK(contains(refused_read(folder, "model.onnx"), "altered or damaged"));
  }
  fs::remove(folder.file("model.onnx"));
  CHECK(contains(refused_read(folder, "model.onnx"), "missing, or not a plain file"));
}

TEST_CASE("bundle: a size that the file does not have is refused before memory is taken") {
  const TemporaryBundle folder;
  const std::string text =
      edited(levit_test::valid_manifest(), "\"size_bytes\": 7", "\"size_bytes\": 4294967296");
  folder.write("manifest.json", text);
  CHECK(contains(refused_read(folder, "model.onnx"), "altered or damaged"));
}

TEST_CASE("bundle: links, folders and pipes in the place of a member are refused") {
  const TemporaryBundle folder;
  const TemporaryBundle other;
  const auto refuse_all = [&] {
    CHECK(contains(refused_read(folder, "model.onnx"), "missing, or not a plain file"));
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
  CHECK(contains(refused_read(folder, "engines/ort/model.ort"), "missing, or not a plain file"));
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

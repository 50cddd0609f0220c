#include "bundle.hpp"

#include <sys/stat.h>

#include "bundle_files.hpp"
#include "bundle_golden.hpp"
#include "error.hpp"
#include "sha256.hpp"
#include "text.hpp"

namespace levit {
namespace {

constexpr const char* manifest_name = "manifest.json";
constexpr const char* model_name = "model.onnx";
constexpr const char* labels_name = "labels.txt";
constexpr const char* golden_name = "golden.safetensors";

std::string without_last_slash(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

Manifest read_manifest(const std::string& folder) {
  const std::string shown = printable(folder);
  struct stat status = {};
  if (stat(folder.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) {
    throw Error(Status::input, shown + ": not a bundle (is not a folder); levit-export writes one");
  }
  if (lstat((folder + "/" + manifest_name).c_str(), &status) != 0) {
    throw Error(Status::input,
                shown + ": not a bundle (has no manifest.json); levit-export writes one");
  }
  BundleFile file(folder, manifest_name);
  if (file.size_bytes() > max_manifest_bytes) {
    throw Error(Status::input, shown + "/manifest.json: larger than " +
                                   std::to_string(max_manifest_bytes) + " bytes");
  }
  std::string text(static_cast<std::size_t>(file.size_bytes()), '\0');
  text.resize(file.read(reinterpret_cast<std::uint8_t*>(text.data()), text.size()));
  try {
    Manifest manifest = parse_manifest(text);
    if (manifest.members.count(model_name) == 0) {
      throw Error(Status::input,
                  "manifest.json: model.onnx is not among its members: export the bundle again");
    }
    return manifest;
  } catch (const Error& error) {
    throw Error(error.status(), shown + ": " + error.what());
  }
}

[[noreturn]] void refuse_altered(const std::string& path) {
  throw Error(Status::input,
              printable(path) +
                  ": altered or damaged (sha256 differs from manifest.json); export it again");
}

// Runs `parse` so that what it refuses is said of `path`.
template <typename Parse>
auto naming(const std::string& path, const Parse& parse) {
  try {
    return parse();
  } catch (const Error& error) {
    throw Error(error.status(), printable(path) + ": " + error.what());
  }
}

}  // namespace

Bundle::Bundle(const std::string& path)
    : path_(without_last_slash(path)), manifest_(read_manifest(path_)) {}

const Member& Bundle::listed(const std::string& member) const {
  const auto found = manifest_.members.find(member);
  if (found == manifest_.members.end()) {
    throw Error(Status::input, printable(path_) + ": the manifest lists no " + quoted(member) +
                                   "; export the bundle again");
  }
  return found->second;
}

std::string Bundle::file(const std::string& member) const {
  listed(member);
  return path_ + "/" + member;
}

std::vector<std::uint8_t> Bundle::read(const std::string& member) const {
  const Member& expected = listed(member);
  BundleFile file(path_, member);
  // The size first: the manifest may promise gigabytes of a small file, and the file may be larger
  // than promised.
  if (file.size_bytes() != expected.size_bytes) refuse_altered(path_ + "/" + member);
  std::vector<std::uint8_t> content(static_cast<std::size_t>(expected.size_bytes));
  const bool whole = file.read(content.data(), content.size()) == content.size();
  if (!whole || sha256_of(content.data(), content.size()) != expected.sha256)
    refuse_altered(path_ + "/" + member);
  return content;
}

std::vector<std::string> Bundle::labels() const {
  const std::vector<std::uint8_t> content = read(labels_name);
  return naming(path_ + "/" + labels_name, [&] {
    std::vector<std::string> labels = parse_labels(
        std::string_view(reinterpret_cast<const char*>(content.data()), content.size()));
    if (labels.size() != static_cast<std::size_t>(manifest_.num_classes)) {
      throw Error(Status::input, std::to_string(labels.size()) + " names for " +
                                     std::to_string(manifest_.num_classes) + " classes");
    }
    return labels;
  });
}

Golden Bundle::golden() const {
  const std::vector<std::uint8_t> content = read(golden_name);
  return naming(path_ + "/" + golden_name, [&] {
    return parse_golden(content, static_cast<int>(manifest_.golden_tolerance.size()),
                        manifest_.preprocessing.image_size, manifest_.num_classes);
  });
}

}  // namespace levit

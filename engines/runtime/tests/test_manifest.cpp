#include <doctest/doctest.h>

#include <string>
#include <utility>

#include "manifest.hpp"
#include "manifest_text.hpp"
#include "refusal.hpp"

using levit_test::contains;
using levit_test::edited;
using levit_test::refusal;
using levit_test::valid_manifest;

namespace {

std::string refused(const std::string& from, const std::string& to) {
  return refusal([&] { levit::parse_manifest(edited(valid_manifest(), from, to)); });
}

}  // namespace

TEST_CASE("manifest: every field that is used") {
  const levit::Manifest manifest = levit::parse_manifest(valid_manifest());
  CHECK(manifest.name == "tiny");
  CHECK(manifest.arch == "128S");
  CHECK(manifest.precision == "fp32");
  CHECK(manifest.target == "cpu");
  CHECK(manifest.weights_origin == "untrained");
  CHECK(manifest.num_classes == 5);
  CHECK(manifest.preprocessing.image_size == 32);
  CHECK(manifest.preprocessing.resize_size == 36);
  CHECK(manifest.preprocessing.mean[0] == 0.485F);
  CHECK(manifest.preprocessing.crop_rounding == "half_even");
  CHECK_FALSE(manifest.preprocessing.apply_exif_orientation);
  CHECK(manifest.input.shape == std::vector<std::int64_t>{-1, 3, 32, 32});
  CHECK(manifest.outputs.size() == 1);
  CHECK(manifest.batch_maximum == 4);
  CHECK(manifest.batch_verified == std::vector<int>{1, 4});
  CHECK(manifest.golden_tolerance == std::vector<double>{0.5, 1.0});
  CHECK(manifest.members.at("model.onnx").size_bytes == 7);
  CHECK(manifest.engines.at("onnxruntime-cpu").files.front() == "engines/ort/model.ort");
}

TEST_CASE("manifest: each spoiled field is refused on one line that names it") {
  const std::pair<const char*, const char*> digest_cases[] = {{"\"aaaa", "\"Aaaa"},
                                                              {"\"aaaa", "\"aaa"}};
  for (const auto& [from, to] : digest_cases) CHECK(contains(refused(from, to), "no valid sha256"));
  struct Case {
    const char* from;
    const char* to;
    const char* reason;
  };
  const Case cases[] = {
      {"\"schema_version\": 1", "\"schema_version\": 2", "schema version 2 is unknown"},
      {"\"schema_version\": 1", "\"schema_version\": 1.0", "must be int"},
      {"\"schema_version\": 1", "\"schema_version\": true", "must be int"},
      {"\"schema_version\": 1, ", "", "'schema_version' is missing"},
      {"\"name\": \"tiny\"", "\"name\": 3", "'name' must be str"},
      {"\"128S\"", "\"128s\"", "unknown architecture"},
      {"[128, 256, 384]", "[128, 256]", "embed_dims"},
      {"\"heads\": [4, 6, 8]", "\"heads\": [4, 6, 9]", "heads"},
      {"\"key_dim\": 16", "\"key_dim\": 32", "key_dim"},
      {"\"num_classes\": 5", "\"num_classes\": 0", "class count 0"},
      {"\"num_classes\": 5", "\"num_classes\": 99999999999", "out of range"},
      {"\"image_size\": 32, \"dist", "\"image_size\": 33, \"dist", "multiple of 16"},
      {"\"image_size\": 32, \"dist", "\"image_size\": 48, \"dist", "the network takes 48"},
      {"\"image_size\": 32, \"dist", "\"image_size\": 100000, \"dist", "multiple of 16"},
      {"\"distillation\": true", "\"distillation\": 1", "distillation"},
      {"\"weights\": {\"origin\": \"untrained\"}", "\"weights\": []", "'weights' must be dict"},
      {"{\"onnx\": \"1.18\"}", "{\"onnx\": 1}", "'versions' must be a string"},
      {"\"colour\": \"RGB\"", "\"colour\": \"BGR\"", "colour is 'BGR'"},
      {"\"colour\": \"RGB\"", "\"colour\": [\"RGB\"]", "colour is no text"},
      {"\"colour\": \"RGB\"", "\"gamma\": 2", "'colour' is missing"},
      {"\"colour\": \"RGB\"", "\"colour\": \"RGB\", \"gamma\": 2", "'gamma' is unknown"},
      {"horizontal, vertical", "vertical, horizontal", "implemented is 'horizontal, vertical'"},
      {"\"ignored\"", "\"maybe\"", "'ignored' or 'applied'"},
      {"\"resize_shorter_side\": 36", "\"resize_shorter_side\": 31", "never padded"},
      {"\"resize_shorter_side\": 36", "\"resize_shorter_side\": 8193", "never padded"},
      {"\"resize_shorter_side\": 36", "\"resize_shorter_side\": 99999999999999999999",
       "never padded"},
      {"\"resize_shorter_side\": 36", "\"resize_shorter_side\": 36.0", "not an integer"},
      {"0.485", "123.675", "mean is not three numbers"},
      {"0.485, ", "", "mean is not three numbers"},
      {"0.229", "0.001", "std is not three numbers"},
      {"0.229", "true", "std is not three numbers"},
      {"[\"batch\", 3, 32, 32]", "[\"batch\", 0]", "'shape' must hold"},
      {"[\"batch\", 3, 32, 32]", "[1.5]", "'shape' must hold"},
      {"\"outputs\": [", "\"outputs\": [1, ", "must be an object"},
      {"\"minimum\": 1, \"maximum\": 4, \"ver", "\"minimum\": 0, \"maximum\": 4, \"ver",
       "1 <= minimum <= maximum"},
      {"\"minimum\": 1, \"maximum\": 4, \"ver", "\"minimum\": 5, \"maximum\": 4, \"ver",
       "1 <= minimum <= maximum"},
      {"[1, 4]", "[]", "'verified' must hold"},
      {"[1, 4]", "[1, 5]", "'verified' must hold"},
      {"[0.5, 1]", "[-0.5]", "golden_tolerance"},
      {"[0.5, 1]", "[\"0.5\"]", "golden_tolerance"},
      {"[0.5, 1]", "[NaN]", "not JSON"},
      {"[0.5, 1]", "[1e999]", "not JSON"},
      {"\"size_bytes\": 7", "\"size_bytes\": -1", "size -1"},
      {"\"size_bytes\": 7", "\"size_bytes\": 4294967297", "allowed is 0 to 4294967296"},
      {"\"size_bytes\": 7", "\"size_bytes\": 99999999999999999999", "out of range"},
      {"{\"model.onnx\"", "{\"../model.onnx\"", "not a member name"},
      {"{\"model.onnx\"", "{\"/model.onnx\"", "not a member name"},
      {"{\"model.onnx\"", "{\"a//b\"", "not a member name"},
      {"{\"model.onnx\"", "{\"a/\"", "not a member name"},
      {"{\"model.onnx\"", "{\"a/./b\"", "not a member name"},
      {"{\"model.onnx\"", "{\".hidden\"", "not a member name"},
      {"{\"model.onnx\"", "{\"C:\\\\x\"", "not a member name"},
      {"{\"model.onnx\"", "{\"\"", "not a member name"},
      {"{\"model.onnx\"", "{\"a\\u0000b\"", "not a member name"},
      {"{\"model.onnx\"", "{\"two\\nlines\"", "'two\\x0alines' is not a member name"},
      {"{\"model.onnx\"", "{\"manifest.json\"", "not a member name"},
      {"[\"engines/ort/model.ort\"]", "[\"absent\"]", "which is not a member"},
      {"[\"engines/ort/model.ort\"]", "[\"model.onnx\"]", "not below engines/"},
      {"[\"engines/ort/model.ort\"]", "[]", "must hold member names"},
      {"\"model_sha256\": \"x\"", "\"model_sha256\": 1", "'model_sha256' must be str"},
      {"\"optimum\": 1", "\"optimum\": 5", "minimum <= optimum <= maximum"},
      {"\"optimum\": 1, ", "", "must hold minimum, optimum, maximum"},
      {"\"build_seconds\": 1.5", "\"build_seconds\": -1", "build_seconds"},
      {"\"machine\": {},", "\"machine\": {\"cpu\": 2},", "'machine' must be a string"},
      {"\"verified\": \"golden\"", "\"verified\": null", "'verified' must be str"},
  };
  for (const Case& one : cases) {
    CAPTURE(one.from);
    CAPTURE(one.to);
    const std::string message = refused(one.from, one.to);
    CHECK_MESSAGE(contains(message, one.reason), message);
    CHECK_FALSE(contains(message, "\n"));
  }
}

TEST_CASE("manifest: two engines cannot own one file") {
  const std::string text = valid_manifest();
  const std::size_t begin = text.find("{\"files\"");
  const std::string entry = text.substr(begin, text.rfind("}}") - begin);
  CHECK(
      contains(refused("\"engines\": {", "\"engines\": {\"other\": " + entry + ", "), "both name"));
}

TEST_CASE("manifest: truncated at every length, and with every byte changed, is refused or read") {
  const std::string text = valid_manifest();
  for (std::size_t size = 0; size < text.size(); ++size) {
    REQUIRE_FALSE(refusal([&] { levit::parse_manifest(text.substr(0, size)); }).empty());
  }
  for (std::size_t place = 0; place < text.size(); ++place) {
    for (const char byte : {'\0', '"', '{', '9', '\xFF'}) {
      std::string spoiled = text;
      spoiled[place] = byte;
      refusal([&] { levit::parse_manifest(spoiled); });
    }
  }
  CHECK(contains(
      refusal([&] { levit::parse_manifest(std::string(levit::max_manifest_bytes + 1, ' ')); }),
      "larger than"));
}

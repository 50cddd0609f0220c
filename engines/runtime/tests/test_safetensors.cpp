#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "bundle_golden.hpp"
#include "refusal.hpp"
#include "safetensors.hpp"

using levit_test::contains;
using levit_test::refusal;

namespace {

std::vector<std::uint8_t> file_of(const std::string& header, std::size_t body,
                                  std::uint64_t length) {
  std::vector<std::uint8_t> bytes;
  for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<std::uint8_t>(length >> (8 * i)));
  bytes.insert(bytes.end(), header.begin(), header.end());
  for (std::size_t i = 0; i < body; ++i) bytes.push_back(static_cast<std::uint8_t>(i));
  return bytes;
}

std::vector<std::uint8_t> file_of(const std::string& header, std::size_t body) {
  return file_of(header, body, header.size());
}

std::string refused(const std::vector<std::uint8_t>& bytes) {
  return refusal([&] { levit::read_safetensors(bytes.data(), bytes.size()); });
}

const std::string header =
    R"({"__metadata__": {"names": "[\"a\"]"}, "b": {"dtype": "F64", "shape": [1, 2], "data_offsets": [3, 19]}, "a": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]}} )";

}  // namespace

TEST_CASE("safetensors: tensors and metadata") {
  const std::vector<std::uint8_t> bytes = file_of(header, 19);
  const levit::Safetensors file = levit::read_safetensors(bytes.data(), bytes.size());
  CHECK(file.tensors.size() == 2);
  CHECK(file.tensors.at("b").data[0] == 3);
  CHECK(file.tensors.at("b").size_bytes == 16);
  CHECK(file.tensors.at("b").shape == std::vector<std::int64_t>{1, 2});
  CHECK(file.metadata.at("names") == "[\"a\"]");
  CHECK(refused(file_of("{}", 0)).empty());
}

TEST_CASE("safetensors: truncated at every length is refused") {
  const std::vector<std::uint8_t> bytes = file_of(header, 19);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    CHECK_FALSE(
        refused({bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size)}).empty());
  }
  std::vector<std::uint8_t> longer = bytes;
  longer.push_back(0);
  CHECK(contains(refused(longer), "no tensor"));
}

TEST_CASE("safetensors: headers that lie are refused") {
  const auto one = [](const std::string& fields) {
    return file_of("{\"t\": {" + fields + "}}", 8);
  };
  CHECK(refused(one(R"("dtype": "U8", "shape": [2, 4], "data_offsets": [0, 8])")).empty());
  for (
      const char* const fields :
      {R"("dtype": "U8", "shape": [9], "data_offsets": [0, 9])",
       R"("dtype": "U8", "shape": [8], "data_offsets": [8, 0])",
       R"("dtype": "U8", "shape": [7], "data_offsets": [1, 8])",
       R"("dtype": "U8", "shape": [-8], "data_offsets": [0, 8])",
       R"("dtype": "U8", "shape": [8.0], "data_offsets": [0, 8])",
       R"("dtype": "U9", "shape": [8], "data_offsets": [0, 8])",
       R"("dtype": "U8", "shape": 8, "data_offsets": [0, 8])",
       R"("dtype": "U8", "shape": [8], "data_offsets": [0])",
       R"("dtype": "U8", "shape": [8], "data_offsets": [-1, 7])",
       R"("dtype": 8, "shape": [8], "data_offsets": [0, 8])",
       R"("dtype": "F64", "shape": [4611686018427387904, 4611686018427387904], "data_offsets": [0, 8])",
       R"("dtype": "U8", "shape": [99999999999999999999], "data_offsets": [0, 8])",
       R"("shape": [8], "data_offsets": [0, 8])"}) {
    CAPTURE(fields);
    CHECK(contains(refused(one(fields)), "not safetensors"));
  }
  const std::string overlap =
      R"({"a": {"dtype": "U8", "shape": [5], "data_offsets": [0, 5]}, "b": {"dtype": "U8", "shape": [5], "data_offsets": [3, 8]}})";
  CHECK(contains(refused(file_of(overlap, 8)), "overlaps"));
  CHECK(contains(refused(file_of("{}", 0, ~std::uint64_t{0})), "too large"));
  CHECK(contains(refused(file_of("{}", 0, 99'999'999)), "shorter than its header"));
  CHECK(contains(refused(file_of(" {}", 0)), "no JSON object"));
  CHECK(contains(refused(file_of("[]", 0)), "no JSON object"));
  CHECK(contains(refused(file_of(R"({"__metadata__": {"a": 1}})", 0)), "__metadata__"));
}

TEST_CASE("golden: types, shapes and names are those of the manifest") {
  const std::string golden =
      R"({"__metadata__": {"names": "[\"one\"]"}, "images": {"dtype": "U8", "shape": [1, 1, 1, 3], "data_offsets": [0, 3]}, "logits": {"dtype": "F64", "shape": [1, 2], "data_offsets": [3, 19]}})";
  const auto refused_golden = [&](const std::string& text, int count, int classes) {
    return refusal([&] { levit::parse_golden(file_of(text, 19), count, 1, classes); });
  };
  CHECK(levit::parse_golden(file_of(golden, 19), 1, 1, 2).names.front() == "one");
  CHECK(contains(refused_golden(golden, 2, 2), "shapes"));
  CHECK(contains(refused_golden(golden, 1, 3), "shapes"));
  std::string spoiled = golden;
  CHECK(contains(refused_golden(spoiled.replace(spoiled.find("one"), 3, "o\\\",\\\"e"), 1, 2),
                 "names"));
  CHECK(contains(refused_golden(header, 1, 2), "images"));
}

TEST_CASE("labels: one a line, as Python reads them") {
  const auto labels = [](const std::string& text) { return levit::parse_labels(text); };
  CHECK(labels("\xEF\xBB\xBF cat \r\ndog\n") == std::vector<std::string>{"cat", "dog"});
  CHECK(labels("\xC2\xA0x\xE3\x80\x80y\xE2\x80\x83") == std::vector<std::string>{"x\xE3\x80\x80y"});
  CHECK(contains(refusal([&] { labels("a\n \nb"); }), "empty line 2"));
  CHECK(contains(refusal([&] { labels(""); }), "empty line 1"));
  CHECK(contains(refusal([&] { labels("a\n\n"); }), "empty line 2"));
  CHECK(contains(refusal([&] { labels("a\xFF"); }), "UTF-8"));
}

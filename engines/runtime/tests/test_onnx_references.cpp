#include <doctest/doctest.h>

#include <string>

#include "onnx_bytes.hpp"
#include "onnx_references.hpp"
#include "refusal.hpp"

using levit_test::contains;
using levit_test::field;
using levit_test::refusal;

namespace {

std::string external(const std::string& place) {
  return field(13, field(1, "location") + field(2, place)) + std::string("\x70\x01", 2);
}

std::set<std::string> files(const std::string& model) {
  return levit::external_files(reinterpret_cast<const std::uint8_t*>(model.data()), model.size());
}

std::string refused(const std::string& model) {
  return refusal([&] { files(model); });
}

using Names = std::set<std::string>;

}  // namespace

TEST_CASE("onnx references: wherever a tensor lies") {
  const std::string tensor = external("w.bin");
  const std::string graph = field(5, tensor);
  CHECK(files("").empty());
  CHECK(files(field(7, field(5, field(8, "name")))).empty());
  CHECK(files(field(7, graph)) == Names{"w.bin"});
  CHECK(files(field(7, field(15, field(1, tensor)))) == Names{"w.bin"});
  CHECK(files(field(7, field(15, field(2, tensor)))) == Names{"w.bin"});
  for (const std::string& attribute :
       {field(5, tensor), field(10, tensor), field(6, graph), field(11, graph),
        field(22, field(1, tensor)), field(23, field(1, tensor))}) {
    const std::string node = field(5, attribute);
    CHECK(files(field(7, field(1, node))) == Names{"w.bin"});
    CHECK(files(field(25, field(7, node))) == Names{"w.bin"});
  }
  CHECK(files(field(25, field(11, field(5, tensor)))) == Names{"w.bin"});
  CHECK(files(field(20, field(1, graph)) + field(20, field(2, field(5, external("x"))))) ==
        Names{"w.bin", "x"});
  CHECK(files(field(7, graph + field(5, external("/etc/passwd")))) ==
        Names{"/etc/passwd", "w.bin"});
}

TEST_CASE("onnx references: what hides its files, and what is no model, is refused") {
  CHECK(contains(refused(field(7, field(5, "\x70\x01"))), "names no file"));
  CHECK(contains(refused(field(7, field(1, field(4, "EPContext")))), "EPContext"));
  CHECK(contains(refused(std::string("\x18\0\0\0ORTM", 8)), "not an ONNX model"));
  CHECK(contains(refused("\x3A\x05"), "not an ONNX model"));
  CHECK(contains(refused("\x3B"), "not an ONNX model"));
  CHECK(contains(refused(std::string(11, '\xFF')), "not an ONNX model"));
  std::string deep;
  for (int depth = 0; depth < 40; ++depth) {
    if (deep.size() > 110) break;
    deep = field(1, field(5, field(6, deep)));
  }
  CHECK(refused(field(7, deep)).empty());
}

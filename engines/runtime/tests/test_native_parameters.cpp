#include <doctest/doctest.h>

#include "manifest_text.hpp"
#include "native_parameters.hpp"

// That they are those of the fused network in PyTorch is what tests/export shows of the Python
// twin; that every one is found, tests/runtime/test_native_provider.py.
TEST_CASE("native parameters: in the order of the forward pass") {
  const auto found = levit::native_parameters(levit::parse_manifest(levit_test::valid_manifest()));
  const auto is = [&](std::size_t place, const char* path, const levit::OnnxShape& shape) {
    CHECK(found.at(place).first == path);
    CHECK(found.at(place).second == shape);
  };
  is(0, "stem.conv1.weight", {16, 3, 3, 3});
  is(7, "stem.conv4.bias", {128});
  is(8, "stages.0.blocks.0.attention.bias", {4, 4, 4});
  is(9, "stages.0.blocks.0.attention.qkv.weight", {256, 128});
  is(26, "stages.1.downsample.attention.bias", {8, 1, 4});
  is(27, "stages.1.downsample.attention.key_value.weight", {640, 128});
  is(found.size() - 2, "head.weight", {5, 384});
  is(found.size() - 1, "head.bias", {5});
  CHECK(found.size() == 8 + 9 * (2 + 3 + 4) + 2 * 11 + 2);
}

#include <doctest/doctest.h>

#include "refusal.hpp"
#include "tensorrt_version.hpp"

using levit::same_release;
using levit::version_from_number;
using levit::version_from_text;
using levit_test::contains;
using levit_test::refusal;

TEST_CASE("a release is read from the number that the library gives") {
  CHECK(version_from_number(101303).text() == "10.13.3");
  CHECK(version_from_number(110100).text() == "11.1.0");
  CHECK(version_from_number(10701).text() == "1.7.1");  // TensorRT-RTX
  CHECK(version_from_number(8601).text() == "8.6.1");
}

TEST_CASE("a release is read from the words of a manifest") {
  CHECK(version_from_text("10.13.3.9")->text() == "10.13.3.9");
  CHECK(version_from_text("10.13.3")->text() == "10.13.3");
  CHECK(version_from_text("10.13.3.9.post1")->text() == "10.13.3.9");
  CHECK(version_from_text("10.13.3rc1") == std::nullopt);
  for (const char* const text :
       {"", "10", "10.13", "a.b.c", "10..3", "99999999999.1.1", "-1.2.3"}) {
    CAPTURE(text);
    CHECK_FALSE(version_from_text(text).has_value());
  }
}

TEST_CASE("the build counts where both sides know it") {
  CHECK(same_release({10, 13, 3, 9}, {10, 13, 3, -1}));
  CHECK(same_release({10, 13, 3, 9}, {10, 13, 3, 9}));
  CHECK_FALSE(same_release({10, 13, 3, 9}, {10, 13, 3, 8}));
  CHECK_FALSE(same_release({10, 13, 3, 9}, {10, 13, 2, 9}));
  CHECK_FALSE(same_release({10, 13, 3, 9}, {10, 12, 3, 9}));
  CHECK_FALSE(same_release({10, 13, 3, 9}, {11, 13, 3, 9}));
}

TEST_CASE("a library of another major release is refused, and TensorRT-RTX by its name") {
  CHECK(refusal([] { levit::require_same_interface("lib", {10, 0, 1, -1}, 10); }).empty());
  const std::string other =
      refusal([] { levit::require_same_interface("/a/libnvinfer.so", {11, 1, 0, -1}, 10); });
  CHECK(contains(other, "/a/libnvinfer.so: this is TensorRT 11.1.0"));
  CHECK(contains(other, "headers of TensorRT 10"));
  const std::string rtx = refusal([] { levit::require_same_interface("lib", {1, 7, 1, -1}, 10); });
  CHECK(contains(rtx, "TensorRT-RTX 1.7.1, whose plans levit-classify --engine tensorrt-rtx runs"));
}

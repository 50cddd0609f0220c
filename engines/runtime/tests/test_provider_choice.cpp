#include <doctest/doctest.h>

#include "provider_choice.hpp"

namespace {

using levit::fastest_provider;
using levit::Manifest;

Manifest manifest_of(const std::string& precision, const std::string& target = "cpu") {
  Manifest manifest;
  manifest.precision = precision;
  manifest.target = target;
  manifest.names_form = true;
  return manifest;
}

const auto found = [] { return true; };
const auto missing = [] { return false; };

}  // namespace

TEST_CASE("The native kernels run what they take where they are the fastest") {
  for (const char* const set : {"amx", "avx512-vnni", "avx512"}) {
    CAPTURE(set);
    CHECK(fastest_provider(manifest_of("fp32"), set, found) == LEVIT_PROVIDER_NATIVE);
    CHECK(fastest_provider(manifest_of("fp32", "gpu"), set, found) == LEVIT_PROVIDER_NATIVE);
    CHECK(fastest_provider(manifest_of("int8"), set, found) == LEVIT_PROVIDER_NATIVE);
  }
}

TEST_CASE("Elsewhere they stand in for an ONNX Runtime that is missing") {
  for (const char* const set : {"avx2", "portable"}) {
    CAPTURE(set);
    CHECK(fastest_provider(manifest_of("fp32"), set, found) == LEVIT_PROVIDER_CPU);
    CHECK(fastest_provider(manifest_of("fp32"), set, missing) == LEVIT_PROVIDER_NATIVE);
  }
}

TEST_CASE("What they do not take runs in ONNX Runtime") {
  CHECK(fastest_provider(manifest_of("fp16"), "amx", missing) == LEVIT_PROVIDER_CPU);
  CHECK(fastest_provider(manifest_of("int8", "gpu"), "amx", missing) == LEVIT_PROVIDER_CPU);
  Manifest other = manifest_of("fp32");
  other.names_form = false;
  CHECK(fastest_provider(other, "amx", missing) == LEVIT_PROVIDER_CPU);
}

#include <doctest/doctest.h>

#include <string>

#include "bundle.hpp"
#include "open_native.hpp"
#include "refusal.hpp"
#include "temporary_bundle.hpp"

using levit_test::contains;
using levit_test::edited;
using levit_test::refusal;
using levit_test::TemporaryBundle;

namespace {

// What is said of a bundle whose manifest has `to` in place of `from`.
std::string refused(const std::string& from, const std::string& to) {
  const TemporaryBundle folder;
  std::string text = edited(levit_test::valid_manifest(), levit_test::valid_digest,
                            levit_test::digest_of(levit_test::model));
  folder.write("manifest.json", edited(text, from, to));
  const levit::Bundle bundle(folder.path());
  const std::string said = refusal([&] { levit::open_native(bundle, 1); });
  CHECK(contains(said, folder.path()));
  return said;
}

}  // namespace

TEST_CASE("the native provider: bundles that it does not take are told what to do") {
  CHECK(contains(refused(R"("precision": "fp32")", R"("precision": "fp16")"),
                 " is fp16, the provider native takes fp32 and int8: choose another provider, or "
                 "export it with --precision fp32"));
  CHECK(contains(
      refused(R"("precision": "fp32", "target": "cpu")", R"("precision": "int8", "target": "gpu")"),
      " is int8 for GPUs, the provider native takes that for CPUs: export it with "
      "--target cpu"));
}

TEST_CASE("the native provider: a file that is no model is named") {
  CHECK(contains(refused("tiny", "tiny"), "/model.onnx: not an ONNX model; export it again"));
}

#include <doctest/doctest.h>

#include "gpu_choice.hpp"
#include "plan_bundle.hpp"
#include "plan_choice.hpp"
#include "refusal.hpp"

using levit::Bundle;
using levit_test::contains;
using levit_test::PlanBundle;
using levit_test::refusal;
using levit_test::TemporaryBundle;

namespace {

using Edits = std::vector<std::pair<std::string, std::string>>;

// What `question` refuses of a bundle with these edits.
template <typename Question>
std::string refused(const Edits& edits, const Question& question) {
  const PlanBundle folder(edits);
  const Bundle bundle(folder.path());
  return refusal([&] { question(bundle, levit::plan_of(bundle)); });
}

std::string refused(const Edits& edits) {
  return refused(edits, [](const Bundle&, const levit::EngineEntry&) {});
}

}  // namespace

TEST_CASE("a plan that was built here is found") {
  const PlanBundle folder;
  const Bundle bundle(folder.path());
  const levit::EngineEntry& entry = levit::plan_of(bundle);
  CHECK(entry.files.front() == levit_test::plan_file);
  CHECK(entry.profile.minimum == 1);
  CHECK(entry.profile.maximum == 4);
  levit::require_version(bundle, entry, {10, 13, 3, 9});
  levit::require_version(bundle, entry, {10, 13, 3, -1});
  levit::require_capability(bundle, entry, {8, 6});
  levit::require_capability(bundle, entry, {8, 9});
}

TEST_CASE("without a plan the message names the command that builds one") {
  const TemporaryBundle folder;
  const std::string said = refusal([&] { levit::plan_of(Bundle(folder.path())); });
  CHECK(contains(said, "has no plan of TensorRT yet: run levit-build " + folder.path() +
                           " --engine tensorrt on this machine"));
  CHECK(contains(refused({{"\"tensorrt\": {\"files\"", "\"tensorrt-rtx\": {\"files\""}}),
                 "only one of TensorRT-RTX, which levit-classify --engine tensorrt-rtx runs"));
}

TEST_CASE("a plan of another graph or platform is refused") {
  CHECK(contains(refused({{"\"model_sha256\": \"", "\"model_sha256\": \"0"}}),
                 "built from another model.onnx: run levit-build"));
  CHECK(
      contains(refused({{levit::platform_here(), "plan9-mips"}}), "built on plan9-mips, this is "));
  CHECK(contains(refused({{"\"platform\"", "\"playground\""}}), "built on nothing, this is "));
}

TEST_CASE("a plan runs with the release that built it") {
  const auto ask = [](const levit::TensorRtVersion& version) {
    return [version](const Bundle& bundle, const levit::EngineEntry& entry) {
      levit::require_version(bundle, entry, version);
    };
  };
  const std::string said = refused({}, ask({10, 14, 0, 1}));
  CHECK(contains(said, "built with TensorRT 10.13.3.9, this is 10.14.0.1: run levit-build "));
  CHECK(contains(said, "--engine tensorrt --overwrite here"));
  CHECK(contains(refused({}, ask({10, 13, 3, 8})), "this is 10.13.3.8"));
  CHECK(contains(refused({{"10.13.3.9", "ten"}}, ask({10, 13, 3, 9})), "built with TensorRT ten"));
  CHECK(contains(refused({{"{\"tensorrt\": \"10", "{\"other\": \"10"}}, ask({10, 13, 3, 9})),
                 "built with TensorRT nothing"));
}

TEST_CASE("a plan runs on the GPUs that it was built for") {
  const auto ask = [](const levit::Capability& gpu) {
    return [gpu](const Bundle& bundle, const levit::EngineEntry& entry) {
      levit::require_capability(bundle, entry, gpu);
    };
  };
  CHECK(contains(refused({}, ask({9, 0})),
                 "built for compute capability 8.6, 8.9, this GPU has 9.0: run levit-build"));
  CHECK(refused({{"8.6, 8.9", "12.0"}}, ask({12, 0})).empty());
  for (const char* const words : {"8.6,8.9", "8", "8.", ".6", "08.6", "8.6, ", "8.66", "eight"}) {
    CAPTURE(words);
    CHECK(contains(refused({{"8.6, 8.9", words}}, ask({8, 6})), "not what levit-build writes"));
  }
}

TEST_CASE("batch sizes are those that the plan was built for") {
  const auto sizes = [](const Edits& edits) {
    const PlanBundle folder(edits);
    const Bundle bundle(folder.path());
    return levit::plan_batches(bundle, levit::plan_of(bundle));
  };
  CHECK(sizes({}).verified == std::vector<int>{1, 4});
  const std::string profile = R"("minimum": 1, "optimum": 1, "maximum": 4})";
  const levit::BatchSizes narrow =
      sizes({{profile, R"("minimum": 2, "optimum": 2, "maximum": 3})"}});
  CHECK(narrow.minimum == 2);
  CHECK(narrow.maximum == 3);
  CHECK(narrow.verified == std::vector<int>{2, 3});
  CHECK(sizes({{profile, R"("minimum": 1, "optimum": 1, "maximum": 3})"}}).verified ==
        std::vector<int>{1});
  CHECK(
      contains(refusal([&] { sizes({{profile, R"("minimum": 1, "optimum": 1, "maximum": 5})"}}); }),
               "a plan for 1 to 5 images cannot be of a graph for 1 to 4"));
}

TEST_CASE("a GPU that is not there is told") {
  CHECK(refusal([] { levit::require_gpu("", false, 2, 1); }).empty());
  CHECK(
      contains(refusal([] { levit::require_gpu("cudaErrorX", true, 0, 0); }), "no NVIDIA driver"));
  CHECK(contains(refusal([] { levit::require_gpu("cudaErrorNoDevice", false, 0, 0); }),
                 "(cudaErrorNoDevice): look at nvidia-smi"));
  CHECK(contains(refusal([] { levit::require_gpu("", false, 0, 0); }), "CUDA sees no GPU"));
  CHECK(contains(refusal([] { levit::require_gpu("", false, 2, 2); }),
                 "there is no GPU 2, CUDA counts 2 from 0 on"));
}

#include <doctest/doctest.h>

#include <cstdlib>

#include "fake_tensorrt.hpp"
#include "nvidia_library.hpp"
#include "open_plan.hpp"
#include "plan_bundle.hpp"
#include "refusal.hpp"

using levit::Status;
using levit_test::contains;
using levit_test::FakeMachine;
using levit_test::FakeTensorRt;
using levit_test::PlanBundle;
using levit_test::refusal;

namespace {

levit::OpenedNetwork open(const PlanBundle& folder, FakeMachine& machine, std::uint32_t gpu = 0) {
  const levit::Bundle bundle(folder.path());
  if (machine.tensors.empty()) machine.tensors = levit_test::promised(bundle.manifest());
  return levit::open_plan(bundle, gpu, [&] { return std::make_unique<FakeTensorRt>(machine); });
}

struct Refused {
  Status status = Status::ok;
  std::string message;
};

Refused refused(const PlanBundle& folder, FakeMachine& machine, std::uint32_t gpu = 0) {
  try {
    open(folder, machine, gpu);
  } catch (const levit::Error& error) {
    return {error.status(), error.what()};
  }
  return {};
}

}  // namespace

TEST_CASE("a plan that fits is loaded and runs") {
  const PlanBundle folder;
  FakeMachine machine;
  const levit::OpenedNetwork opened = open(folder, machine);
  CHECK(machine.loaded == levit_test::plan_content);
  CHECK(opened.provider == "TensorRT");
  CHECK(opened.graph == levit_test::plan_file);
  CHECK(opened.tensorrt_version == "10.13.3.9");
  CHECK(opened.tensorrt_library == "/fake/libnvinfer.so.10");
  CHECK(opened.onnxruntime_version.empty());
  CHECK(opened.batches.maximum == 4);
  const std::vector<float> image(3 * 32 * 32, 2);
  std::vector<float> logits(5);
  opened.network->run(image.data(), 1, logits.data());
  CHECK(logits == std::vector<float>{2, 3, 4, 5, 6});
}

TEST_CASE("nothing is loaded that was found not to fit") {
  FakeMachine machine;
  SUBCASE("release") { machine.version = {10, 14, 0, -1}; }
  SUBCASE("GPU") { machine.capability = {9, 0}; }
  SUBCASE("number of GPUs") { machine.gpus = 0; }
  const Refused found = refused(PlanBundle(), machine);
  CHECK(found.status == Status::environment);
  CHECK_FALSE(found.message.empty());
  CHECK(machine.loaded.empty());
}

TEST_CASE("without a plan no library is opened") {
  const levit_test::TemporaryBundle folder;
  const levit::Bundle bundle(folder.path());
  bool opened = false;
  const std::string said = refusal([&] {
    levit::open_plan(bundle, 0, [&]() -> std::unique_ptr<levit::TensorRt> {
      opened = true;
      return nullptr;
    });
  });
  CHECK(contains(said, "--engine tensorrt"));
  CHECK_FALSE(opened);
}

TEST_CASE("an altered plan is not loaded") {
  const PlanBundle folder;
  folder.write(levit_test::plan_file, "y");
  FakeMachine machine;
  const Refused found = refused(folder, machine);
  CHECK(found.status == Status::input);
  CHECK(contains(found.message, "altered or damaged"));
  CHECK(machine.loaded.empty());
}

TEST_CASE("what TensorRT refuses is a bad file or another machine's, by what it says") {
  FakeMachine machine;
  machine.refuses_plan = "Serialization assertion header.magicTag\nfailed";
  Refused found = refused(PlanBundle(), machine);
  CHECK(found.status == Status::input);
  CHECK(contains(found.message, "not a whole plan (Serialization assertion header.magicTag"));
  machine.refuses_plan = "the target GPU is another";
  found = refused(PlanBundle(), machine);
  CHECK(found.status == Status::environment);
  CHECK(contains(found.message, "this GPU and its driver cannot load it (the target GPU"));
  CHECK(contains(found.message, "--engine tensorrt --overwrite here"));
  CHECK_FALSE(contains(found.message, "\n"));
}

TEST_CASE("a plan of another network is refused") {
  FakeMachine machine;
  machine.tensors = {{{"images", "float32", {-1, 3, 64, 64}}, true}};
  const Refused found = refused(PlanBundle(), machine);
  CHECK(found.status == Status::input);
  CHECK(contains(found.message, "manifest.json promises"));
}

TEST_CASE("TF32 by the environment is refused for a plan too") {
  setenv("NVIDIA_TF32_OVERRIDE", "1", 1);
  FakeMachine machine;
  const Refused found = refused(PlanBundle(), machine);
  unsetenv("NVIDIA_TF32_OVERRIDE");
  CHECK(found.status == Status::environment);
  CHECK(contains(found.message, "NVIDIA_TF32_OVERRIDE is '1'"));
  CHECK(machine.loaded.empty());
}

TEST_CASE("a library of NVIDIA that is missing or another one is told") {
  const auto open_named = [](const char* path) {
    setenv("LEVIT_TEST_NVIDIA", path, 1);
    const std::string said = refusal([] {
      const levit::NvidiaLibrary library("libabsent.so.0", "LEVIT_TEST_NVIDIA", "get it");
      void (*function)() = nullptr;
      library.find("levit_no_such_function", function);
    });
    unsetenv("LEVIT_TEST_NVIDIA");
    return said;
  };
  CHECK(contains(open_named("/no/such/file.so"),
                 "what LEVIT_TEST_NVIDIA names cannot be loaded (/no/such/file.so: no such file)"));
  CHECK(contains(open_named("file.so"), "(./file.so: no such file)"));
  CHECK(contains(open_named(""),
                 "libabsent.so.0 cannot be loaded: get it, or name it in LEVIT_TEST_NVIDIA"));
  CHECK(contains(open_named("/proc/self/exe"), "LEVIT_TEST_NVIDIA names cannot be loaded"));
}

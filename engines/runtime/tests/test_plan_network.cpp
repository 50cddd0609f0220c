#include <doctest/doctest.h>

#include <thread>

#include "fake_tensorrt.hpp"
#include "manifest_text.hpp"
#include "plan_network.hpp"
#include "plan_tensors.hpp"
#include "refusal.hpp"

using levit_test::contains;
using levit_test::edited;
using levit_test::FakeMachine;
using levit_test::FakePlan;
using levit_test::refusal;

namespace {

constexpr std::size_t image_values = 3 * 32 * 32;
constexpr std::size_t classes = 5;

// The manifest of the tests with a second output, which nobody asks for.
levit::Manifest manifest() {
  return levit::parse_manifest(
      edited(levit_test::valid_manifest(), R"("shape": ["batch", 5]}])",
             R"("shape": ["batch", 5]}, {"name": "top_k_classes", "dtype": "int64",
                 "layout": "NK", "shape": ["batch", 2]}])"));
}

levit::PlanNetwork network(FakeMachine& machine, int minimum = 1, int maximum = 4) {
  return {std::make_unique<FakePlan>(machine), manifest(), {minimum, maximum, {minimum}}};
}

// `count` images, of which number n begins with 10 * n.
std::vector<float> images(std::size_t count) {
  std::vector<float> values(count * image_values);
  for (std::size_t index = 0; index < count; ++index) {
    values[index * image_values] = 10 * static_cast<float>(index);
  }
  return values;
}

std::vector<float> run(const levit::Network& opened, std::size_t count) {
  std::vector<float> logits(count * classes, -1);
  opened.run(images(count).data(), count, logits.data());
  return logits;
}

std::size_t reserved_bytes(const FakeMachine& machine) {
  std::size_t total = 0;
  for (const auto& entry : machine.memory) total += entry.second.size();
  return total;
}

}  // namespace

TEST_CASE("images go in and logits come out, as many bytes as the batch has") {
  FakeMachine machine;
  const auto opened = network(machine);
  const std::vector<float> logits = run(opened, 2);
  CHECK(logits == std::vector<float>{0, 1, 2, 3, 4, 10, 11, 12, 13, 14});
  CHECK(machine.shape == std::vector<std::int64_t>{2, 3, 32, 32});
  CHECK(machine.runs.front() == std::make_pair(2 * image_values * 4, 2 * classes * 4));
  CHECK(machine.bound.size() == 3);  // TensorRT writes the second output too
}

TEST_CASE("memory of the GPU grows to the largest batch and is freed at the end") {
  FakeMachine machine;
  {
    const auto opened = network(machine);
    const std::size_t bytes_of_image = image_values * 4 + classes * 4 + 2 * 8;
    CHECK(machine.memory.empty());
    run(opened, 1);
    CHECK(reserved_bytes(machine) == bytes_of_image);
    run(opened, 4);
    CHECK(reserved_bytes(machine) == 4 * bytes_of_image);
    run(opened, 2);
    CHECK(reserved_bytes(machine) == 4 * bytes_of_image);
    CHECK(run(opened, 4).back() == 34);
  }
  CHECK(machine.memory.empty());
}

TEST_CASE("the shape is set only when the batch changes") {
  FakeMachine machine;
  const auto opened = network(machine);
  for (const std::size_t count : {2U, 2U, 3U, 3U, 2U}) run(opened, count);
  CHECK(machine.shapes_set == 3);
}

TEST_CASE("a batch that the plan was not built for is refused") {
  FakeMachine machine;
  const auto opened = network(machine, 2, 3);
  for (const std::size_t count : {std::size_t{0}, std::size_t{1}, std::size_t{4}}) {
    const std::string said = refusal([&] { opened.run(nullptr, count, nullptr); });
    CHECK(contains(said, "images, the plan was built for 2 to 3"));
  }
  CHECK(machine.runs.empty());
}

TEST_CASE("after any call that failed the next one works, and nothing is lost") {
  for (const char* const call : {"reserve", "bind", "set_shape", "run"}) {
    CAPTURE(call);
    FakeMachine machine;
    {
      const auto opened = network(machine);
      machine.failing = call;
      CHECK(refusal([&] { run(opened, 2); }) == std::string(call) + " failed");
      machine.failing.clear();
      CHECK(run(opened, 2).back() == 14);
      machine.failing = call;
      const bool is_asked = std::string(call) == "run" || std::string(call) == "set_shape";
      CHECK(refusal([&] { run(opened, 1); }).empty() != is_asked);
      machine.failing.clear();
      CHECK(run(opened, 1).back() == 4);
      CHECK(run(opened, 3).back() == 24);
    }
    CHECK(machine.memory.empty());
  }
}

TEST_CASE("threads take turns") {
  FakeMachine machine;
  const auto opened = network(machine);
  std::vector<int> wrong(8, 0);
  std::vector<std::thread> threads;
  for (std::size_t index = 0; index < wrong.size(); ++index) {
    threads.emplace_back([&, index] {
      for (std::size_t round = 0; round < 50; ++round) {
        const std::size_t count = 1 + (index + round) % 4;
        if (run(opened, count).back() != 10 * static_cast<float>(count - 1) + 4) ++wrong[index];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == std::vector<int>(8, 0));
  CHECK(machine.overlapping == 0);
}

TEST_CASE("a plan that takes or gives something else than promised is told in words") {
  const levit::Manifest expected = manifest();
  std::vector<levit::PlanTensor> found = levit_test::promised(expected);
  std::swap(found.front(), found.back());  // the order says nothing
  levit::require_promised(found, expected, "plan", "remedy");
  const auto refused = [&](const auto& spoil) {
    std::vector<levit::PlanTensor> spoiled = levit_test::promised(expected);
    spoil(spoiled);
    return refusal([&] { levit::require_promised(spoiled, expected, "plan", "remedy"); });
  };
  using Tensors = std::vector<levit::PlanTensor>;
  CHECK(contains(refused([](Tensors& all) { all[0].tensor.dtype = "float16"; }),
                 "plan: has input images float16 (any, 3, 32, 32)"));
  CHECK(contains(refused([](Tensors& all) { all[1].tensor.shape[1] = 6; }),
                 "manifest.json promises input images float32 (any, 3, 32, 32), output logits "
                 "float32 (any, 5), output top_k_classes int64 (any, 2): run remedy"));
  CHECK(contains(refused([](Tensors& all) { all[0].tensor.name = "image"; }), "input image "));
  CHECK(contains(refused([](Tensors& all) { all[1].is_input = true; }), "input logits "));
  CHECK(contains(refused([](Tensors& all) { all.pop_back(); }), "top_k_classes"));
  CHECK(contains(refused([](Tensors& all) { all.clear(); }), "has nothing"));
}

TEST_CASE("what one image takes of a tensor, or why that is not known") {
  using levit::bytes_of_image;
  CHECK(bytes_of_image({"a", "float32", {-1, 5}}, -1) == 20);
  CHECK(bytes_of_image({"a", "uint8", {3, 4, 4, 3}}, 3) == 48);
  CHECK(bytes_of_image({"a", "int64", {-1}}, -1) == 8);
  const levit::Tensor wrong[] = {
      {"a", "complex64", {-1, 5}},
      {"a", "float32", {}},
      {"a", "float32", {5, 5}},
      {"a", "float32", {-1, -1}},
      {"a", "float32", {-1, std::int64_t{1} << 40, std::int64_t{1} << 40}}};
  for (const levit::Tensor& tensor : wrong) {
    CHECK(contains(refusal([&] { bytes_of_image(tensor, -1); }), "no tensor of a batch"));
  }
}

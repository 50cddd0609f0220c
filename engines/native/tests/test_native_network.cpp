// The library through its C interface, with a small network of random weights.
#include <doctest/doctest.h>

#include <atomic>
#include <cstddef>
#include <limits>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "kernels.hpp"
#include "levit/native.h"
#include "worker_pool.hpp"
#include "workspaces.hpp"

namespace {

using levit::native::Workspace;
using levit::native::Workspaces;

constexpr std::size_t message_size = 200;
constexpr int side = 64, classes = 5;

levit_native_options small_options(int threads, const char* instruction_set = "") {
  return {side, classes, 16, {16, 32, 48}, {1, 2, 3}, {1, 2, 1}, threads, instruction_set};
}

// The number of values of each parameter, in order.
std::vector<std::size_t> sizes(const levit_native_options& options) {
  std::vector<std::size_t> found;
  const auto layer = [&](int outputs, int inputs) {
    found.push_back(static_cast<std::size_t>(outputs) * static_cast<std::size_t>(inputs));
    found.push_back(static_cast<std::size_t>(outputs));
  };
  const auto bias = [&](int heads, int queries, int keys) {
    found.push_back(static_cast<std::size_t>(heads * queries) * static_cast<std::size_t>(keys));
  };
  const auto mlp = [&](int width) {
    layer(2 * width, width);
    layer(width, 2 * width);
  };
  int inputs = 3;
  for (const int divisor : {8, 4, 2, 1}) {
    layer(options.widths[0] / divisor, 9 * inputs);
    inputs = options.widths[0] / divisor;
  }
  int grid = options.image_size / 16;
  const int key = options.key_width;
  for (int stage = 0; stage < 3; ++stage) {
    const int width = options.widths[stage], heads = options.heads[stage];
    if (stage > 0) {
      const int before = options.widths[stage - 1], many = before / key, half = (grid + 1) / 2;
      bias(many, half * half, grid * grid);
      layer(many * 5 * key, before);
      layer(many * key, before);
      layer(width, many * 4 * key);
      mlp(width);
      grid = half;
    }
    for (int block = 0; block < options.depths[stage]; ++block) {
      bias(heads, grid * grid, grid * grid);
      layer(heads * 4 * key, width);
      layer(width, heads * 2 * key);
      mlp(width);
    }
  }
  layer(options.classes, options.widths[2]);
  return found;
}

struct Destroy {
  void operator()(levit_native_network* network) const { levit_native_destroy(network); }
};
using Network = std::unique_ptr<levit_native_network, Destroy>;

struct Given {
  explicit Given(const levit_native_options& options) {
    std::mt19937 generator(3);
    std::normal_distribution<float> spread(0, 0.3F);
    for (const std::size_t size : sizes(options)) {
      values.emplace_back(size);
      for (float& value : values.back()) value = spread(generator);
    }
    for (const auto& one : values) parameters.push_back({one.data(), one.size(), nullptr, 0, 0});
  }

  std::vector<std::vector<float>> values;
  std::vector<levit_native_parameter> parameters;
};

std::string create(const levit_native_options& options, const Given& given, Network& network) {
  char message[message_size] = "";
  levit_native_network* made = nullptr;
  const int failed = levit_native_create(&options, given.parameters.data(), given.parameters.size(),
                                         &made, message, message_size);
  CHECK((failed == 0) == (made != nullptr));
  network.reset(made);
  return message;
}

std::vector<float> images(std::size_t count) {
  std::vector<float> found(count * 3 * side * side);
  std::mt19937 generator(5);
  std::normal_distribution<float> spread;
  for (float& value : found) value = spread(generator);
  return found;
}

std::vector<float> logits_of(levit_native_network& network, const std::vector<float>& given) {
  const std::size_t batch = given.size() / (3 * side * side);
  std::vector<float> logits(batch * classes, -1);
  char message[message_size] = "";
  REQUIRE(levit_native_run(&network, given.data(), batch, logits.data(), message, message_size) ==
          0);
  return logits;
}

}  // namespace

TEST_CASE("logits depend neither on the number of threads nor on the batch") {
  const std::vector<float> all = images(11);
  for (const char* set : levit::native::instruction_sets) {
    CAPTURE(std::string(set));
    const Given given(small_options(1));
    Network one, many;
    if (!create(small_options(1, set), given, one).empty()) continue;
    REQUIRE(create(small_options(4, set), given, many).empty());
    CHECK(std::string(levit_native_instruction_set(one.get())) == set);
    const std::vector<float> wanted = logits_of(*one, all);
    CHECK(logits_of(*many, all) == wanted);
    CHECK(logits_of(*many, all) == wanted);
    for (std::size_t image = 0; image < 11; ++image) {
      const auto first = all.begin() + static_cast<std::ptrdiff_t>(image * 3 * side * side);
      const std::vector<float> alone(first, first + 3 * side * side);
      const auto row = wanted.begin() + static_cast<std::ptrdiff_t>(image * classes);
      CHECK(logits_of(*many, alone) == std::vector<float>(row, row + classes));
    }
  }
}

TEST_CASE("pixels are normalised by the values that are given for each byte") {
  const Given given(small_options(2));
  Network network;
  REQUIRE(create(small_options(2), given, network).empty());
  std::vector<float> normalized(3 * 256);
  for (std::size_t i = 0; i < normalized.size(); ++i) normalized[i] = static_cast<float>(i) / 300;
  std::vector<std::uint8_t> pixels(2 * side * side * 3);
  std::mt19937 generator(9);
  for (auto& value : pixels) value = static_cast<std::uint8_t>(generator() & 255);
  std::vector<float> planes(pixels.size());
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    const std::size_t channel = i % 3, place = i / 3 % (side * side), image = i / (3 * side * side);
    planes[(image * 3 + channel) * side * side + place] = normalized[channel * 256 + pixels[i]];
  }
  std::vector<float> logits(2 * classes);
  char message[message_size] = "";
  REQUIRE(levit_native_run_pixels(network.get(), pixels.data(), normalized.data(), 2, logits.data(),
                                  message, message_size) == 0);
  CHECK(logits == logits_of(*network, planes));
}

TEST_CASE("images that hold NaN or infinity are refused wherever they do, and the next are not") {
  for (const int threads : {1, 2}) {
    const Given given(small_options(threads));
    Network network;
    REQUIRE(create(small_options(threads), given, network).empty());
    const std::vector<float> good = images(3);
    const std::vector<float> wanted = logits_of(*network, good);
    for (const float value :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
          -std::numeric_limits<float>::infinity()}) {
      for (const std::size_t place : {std::size_t{0}, good.size() / 2 + 7, good.size() - 1}) {
        CAPTURE(place);
        std::vector<float> bad = good;
        bad[place] = value;
        std::vector<float> logits(3 * classes);
        char message[message_size] = "";
        CHECK(levit_native_run(network.get(), bad.data(), 3, logits.data(), message,
                               message_size) == LEVIT_NATIVE_NOT_FINITE);
        CHECK(std::string(message) == "images hold NaN or infinity: look at the preprocessing");
        CHECK(logits_of(*network, good) == wanted);
      }
    }
    std::vector<float> large = good;
    large[5] = std::numeric_limits<float>::max();
    CHECK(logits_of(*network, large).size() == wanted.size());
  }
}

TEST_CASE("several threads may use one network") {
  for (const int threads_of_a_call : {1, 2}) {
    CAPTURE(threads_of_a_call);
    const Given given(small_options(threads_of_a_call));
    Network network;
    REQUIRE(create(small_options(threads_of_a_call), given, network).empty());
    const std::vector<float> some = images(3);
    const std::vector<float> wanted = logits_of(*network, some);
    std::vector<std::vector<float>> found(4);
    std::vector<std::thread> threads;
    for (auto& one : found) {
      threads.emplace_back([&] {
        for (int turn = 0; turn < 5; ++turn) {
          one.assign(3 * classes, 0);
          levit_native_run(network.get(), some.data(), 3, one.data(), nullptr, 0);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const auto& one : found) CHECK(one == wanted);
  }
}

TEST_CASE("calls of one thread compute side by side, in workspaces that are used again") {
  Workspaces workspaces(1);
  const Workspace* first = nullptr;
  const Workspace* second = nullptr;
  {
    const Workspaces::Lease one(workspaces), other(workspaces);
    first = &*one;
    second = &*other;
    CHECK(first != second);
  }
  const Workspaces::Lease one(workspaces), other(workspaces);
  CHECK(std::set<const Workspace*>{first, second} == std::set<const Workspace*>{&*one, &*other});
}

TEST_CASE("calls of several threads take turns") {
  Workspaces workspaces(2);
  std::atomic<int> inside{0}, most{0};
  std::vector<std::thread> threads;
  for (int number = 0; number < 4; ++number) {
    threads.emplace_back([&] {
      for (int turn = 0; turn < 20; ++turn) {
        const Workspaces::Lease lease(workspaces);
        const int now = ++inside;
        if (now > most) most = now;
        std::this_thread::yield();
        --inside;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(most == 1);
}

TEST_CASE("what is no LeViT is refused with the reason") {
  const levit_native_options good = small_options(1);
  const Given given(good);
  const auto said = [&](const levit_native_options& options, const Given& parameters) {
    Network network;
    return create(options, parameters, network);
  };
  levit_native_options bad = good;
  bad.image_size = 50;
  CHECK(said(bad, given) == "image_size is not a multiple of 16 from 16 to 768");
  bad = good;
  bad.threads = 0;
  CHECK(said(bad, given) == "threads is not from 1 to 1024");
  bad = good;
  bad.key_width = 24;
  CHECK(said(bad, given) == "key_width is not a multiple of 16");
  bad = good;
  bad.widths[1] = 33;
  CHECK(said(bad, given) == "a width is not a multiple of 16 from 16 to 4096");
  bad = good;
  bad.heads[2] = 0;
  CHECK(said(bad, given) == "heads is out of range");
  bad = good;
  bad.depths[0] = -1;
  CHECK(said(bad, given) == "depths is out of range");
  bad = good;
  bad.instruction_set = "mmx";
  CHECK(said(bad, given) == "this CPU has not the instruction set mmx");
  Given other(good);
  other.parameters[3].count += 1;
  CHECK(said(good, other) == "parameter 3 has 5 values, not 4");
  other = Given(good);
  other.parameters.push_back(other.parameters[0]);
  CHECK(said(good, other).find("parameters, not ") != std::string::npos);
  other = Given(good);
  other.parameters.pop_back();
  CHECK(said(good, other).find("there are only ") == 0);
}

TEST_CASE("every piece of every job is done once, by whichever of the threads") {
  levit::native::WorkerPool pool(4);
  for (int round = 0; round < 20; ++round) {
    pool.begin();
    for (const int count : {1, 2, 3, 64, 1000}) {
      std::vector<int> done(static_cast<std::size_t>(count));
      for (int job = 0; job < 20; ++job) {
        pool.run(count, [&](int piece, int) { ++done[static_cast<std::size_t>(piece)]; });
      }
      CHECK(done == std::vector<int>(static_cast<std::size_t>(count), 20));
    }
    pool.end();
  }
}

#include <doctest/doctest.h>

#include "cli/arguments.hpp"
#include "cli/failure.hpp"

using namespace levit_run;

TEST_CASE("names and options come in any order") {
  const Arguments arguments =
      parse_arguments({"--top-k", "3", "bundle", "a.jpg", "--json", "-", "--threads=2"});
  CHECK(arguments.bundle == "bundle");
  CHECK(arguments.images == std::vector<std::string>{"a.jpg", "-"});
  CHECK(arguments.top_k == 3);
  CHECK(arguments.threads == 2);
  CHECK(arguments.json);
}

TEST_CASE("after -- everything is a name") {
  CHECK(parse_arguments({"bundle", "--", "--json"}).images == std::vector<std::string>{"--json"});
}

TEST_CASE("the self-test needs no image") {
  CHECK(parse_arguments({"bundle", "--self-test"}).self_test);
}

TEST_CASE("every provider is known by its name") {
  for (const char* const name : {"cpu", "native", "cuda", "tensorrt", "tensorrt-plan"}) {
    CHECK(parse_arguments({"bundle", "a", "--provider", name}).provider == name);
  }
}

TEST_CASE("misuse is told") {
  const std::vector<std::vector<std::string>> misuses = {
      {},
      {"bundle"},
      {"bundle", "a", "--top-k", "0"},
      {"bundle", "a", "--top-k"},
      {"bundle", "a", "--threads", "none"},
      {"bundle", "a", "--threads", "99999999999999999999"},
      {"bundle", "a", "--js"},
      {"bundle", "a", "--provider", "steam"},
      {"bundle", "a", "--provider", "tensorrt_plan"},
      {"bundle", "a", "--benchmark", "-1"},
      {"bundle", "a", "--benchmark", "nan"},
      {"bundle", "--self-test", "--benchmark", "1"},
      {"bundle", "a", "--self-test", "--no-self-test"},
  };
  for (const auto& words : misuses) CHECK_THROWS_AS(parse_arguments(words), Failure);
}

#include <doctest/doctest.h>

#include "cpu_features.hpp"

TEST_CASE("features of the first CPU come in one order") {
  const std::string text =
      "processor\t: 0\nmodel name\t: A CPU\nflags\t\t: fpu sse avx2 fma avx bogus\n\nprocessor\t: "
      "1\nflags : amx_tile\n";
  CHECK(levit::instruction_set(text) == "avx fma avx2");
}

TEST_CASE("ARM calls them otherwise") {
  CHECK(levit::instruction_set("Features\t: fp asimd evtstrm asimddp\n") == "asimd asimddp");
}

TEST_CASE("a file that says nothing gives nothing") {
  CHECK(levit::instruction_set("").empty());
  CHECK(levit::instruction_set("flags\n:\nflags\n").empty());
}

TEST_CASE("this machine has an architecture") {
  CHECK(!levit::cpu_requirements().at("architecture").empty());
}

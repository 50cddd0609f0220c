#include <doctest/doctest.h>

#include "built_graph.hpp"
#include "cpu_features.hpp"

namespace {

levit::Manifest manifest() {
  levit::Manifest made;
  made.members["model.onnx"] = {1, "abc"};
  return made;
}

levit::EngineEntry fitting() {
  levit::EngineEntry entry;
  entry.model_sha256 = "abc";
  entry.libraries = {{"onnxruntime", "1.31.1"}};
  entry.requirements = levit::cpu_requirements();
  return entry;
}

}  // namespace

TEST_CASE("a graph that was built here is used") {
  CHECK(levit::misfit(manifest(), fitting(), "1.31.1").empty());
}

TEST_CASE("another model, release or CPU is told apart") {
  levit::EngineEntry entry = fitting();
  entry.model_sha256 = "abd";
  CHECK(levit::misfit(manifest(), entry, "1.31.1") == "it was made from another model.onnx");
  CHECK(levit::misfit(manifest(), fitting(), "1.32.0") ==
        "it was made for onnxruntime 1.31.1, here is 1.32.0");
  entry = fitting();
  entry.requirements["instruction set"] = "abacus";
  CHECK(levit::misfit(manifest(), entry, "1.31.1")
            .rfind("it was made for instruction set abacus, here is", 0) == 0);
  entry = fitting();
  entry.requirements.erase("architecture");
  CHECK(levit::misfit(manifest(), entry, "1.31.1")
            .rfind("it was made for architecture nothing, here is", 0) == 0);
}

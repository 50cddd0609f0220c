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
  CHECK(levit::reason_not_to_use(manifest(), fitting(), "1.31.1").empty());
}

TEST_CASE("another model, release or CPU is told apart") {
  levit::EngineEntry entry = fitting();
  entry.model_sha256 = "abd";
  CHECK(levit::reason_not_to_use(manifest(), entry, "1.31.1") ==
        "it was made from another model.onnx");
  CHECK(levit::reason_not_to_use(manifest(), fitting(), "1.32.0") ==
        "it was made for onnxruntime 1.31.1, here is 1.32.0");
  entry = fitting();
  entry.requirements["instruction set"] = "abacus";
  CHECK(levit::reason_not_to_use(manifest(), entry, "1.31.1")
            .rfind("it was made for instruction set abacus, here is", 0) == 0);
  entry = fitting();
  entry.requirements.erase("architecture");
  CHECK(levit::reason_not_to_use(manifest(), entry, "1.31.1")
            .rfind("it was made for architecture nothing, here is", 0) == 0);
}

TEST_CASE("a graph that does not say for which instructions it was made is not used") {
  levit::EngineEntry entry = fitting();
  entry.requirements["instruction set"] = "";
  CHECK(levit::reason_not_to_use(manifest(), entry, "1.31.1")
            .rfind("it was made for instruction set nothing, here is", 0) == 0);
}

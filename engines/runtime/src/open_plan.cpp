#include "open_plan.hpp"

#include <utility>

#include "error.hpp"
#include "one_line.hpp"
#include "plan_choice.hpp"
#include "plan_network.hpp"
#include "plan_tensors.hpp"
#include "text.hpp"
#include "tf32.hpp"

namespace levit {
namespace {

// What TensorRT names when it finds that bytes are no whole plan; whatever else it refuses is for
// another machine, as the hash was right.
constexpr const char* words_of_the_file[] = {"magicTag", "blobSize", "bufferSize",
                                             "empty memory buffer"};

[[noreturn]] void refuse(const std::string& name, const std::string& said,
                         const std::string& remedy) {
  for (const char* const words : words_of_the_file) {
    if (said.find(words) == std::string::npos) continue;
    throw Error(Status::input, name + ": not a whole plan (" + one_line(said) + "): run " + remedy);
  }
  throw Error(Status::environment, name + ": this GPU and its driver cannot load it (" +
                                       one_line(said) + "): run " + remedy + " here");
}

}  // namespace

OpenedNetwork open_plan(const Bundle& bundle, std::uint32_t device,
                        const std::function<std::unique_ptr<TensorRt>()>& open_library) {
  const EngineEntry& entry = plan_of(bundle);
  const std::string remedy = build_again(bundle);
  OpenedNetwork opened;
  opened.batches = plan_batches(bundle, entry);
  require_no_tf32();
  const std::unique_ptr<TensorRt> library = open_library();
  require_version(bundle, entry, library->version());
  require_capability(bundle, entry, library->use_gpu(device));

  opened.graph = entry.files.front();
  const std::string name = printable(bundle.file(opened.graph));
  std::string said;
  std::unique_ptr<Plan> plan = library->load(bundle.read(opened.graph), said);
  if (plan == nullptr) refuse(name, said, remedy);
  require_promised(plan->tensors(), bundle.manifest(), name, remedy);
  opened.network =
      std::make_unique<PlanNetwork>(std::move(plan), bundle.manifest(), opened.batches);
  opened.provider = "TensorRT";
  opened.tensorrt_version = library->version().text();
  opened.tensorrt_library = library->path();
  return opened;
}

}  // namespace levit

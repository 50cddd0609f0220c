#include "plan_choice.hpp"

#include <sys/utsname.h>

#include <algorithm>
#include <cctype>
#include <map>

#include "error.hpp"
#include "text.hpp"

namespace levit {
namespace {

constexpr const char* rtx_engine = "tensorrt-rtx";
constexpr const char* module = "tensorrt";

// The value under `name`, made fit for a message; "nothing" where there is none.
std::string recorded(const std::map<std::string, std::string>& table, const char* name) {
  const auto found = table.find(name);
  return found == table.end() || found->second.empty() ? "nothing" : printable(found->second);
}

[[noreturn]] void refuse(const Bundle& bundle, const std::string& reason) {
  throw Error(Status::environment, printable(bundle.path()) + ": " + reason);
}

bool is_capability(const std::string& text) {
  const std::size_t point = text.find('.');
  const auto digits = [](const std::string& part) {
    return !part.empty() && part.find_first_not_of("0123456789") == std::string::npos;
  };
  return point != std::string::npos && point <= 2 && text[0] != '0' &&
         digits(text.substr(0, point)) && digits(text.substr(point + 1)) &&
         text.size() == point + 2;
}

}  // namespace

std::string platform_here() {
  utsname system{};
  uname(&system);
  std::string name = system.sysname;
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  return name + "-" + system.machine;
}

std::string build_again(const Bundle& bundle) {
  return "levit-build " + printable(bundle.path()) + " --engine " + plan_engine + " --overwrite";
}

const EngineEntry& plan_of(const Bundle& bundle) {
  const Manifest& manifest = bundle.manifest();
  const auto found = manifest.engines.find(plan_engine);
  const std::string command =
      "levit-build " + printable(bundle.path()) + " --engine " + plan_engine;
  if (found == manifest.engines.end()) {
    const bool has_rtx = manifest.engines.count(rtx_engine) != 0;
    refuse(bundle, "has no plan of TensorRT" +
                       std::string(has_rtx ? ", only one of TensorRT-RTX, which levit-classify "
                                             "--engine tensorrt-rtx runs"
                                           : " yet") +
                       ": run " + command + " on this machine");
  }
  const EngineEntry& entry = found->second;
  const auto model = manifest.members.find("model.onnx");
  if (model == manifest.members.end() || entry.model_sha256 != model->second.sha256) {
    refuse(bundle, "its plan was built from another model.onnx: run " + command + " --overwrite");
  }
  const std::string platform = recorded(entry.requirements, "platform");
  if (platform != platform_here()) {
    refuse(bundle, "its plan was built on " + platform + ", this is " + platform_here() + ": run " +
                       build_again(bundle) + " here");
  }
  return entry;
}

void require_version(const Bundle& bundle, const EngineEntry& entry,
                     const TensorRtVersion& library) {
  const std::string built_with = recorded(entry.libraries, module);
  const std::optional<TensorRtVersion> version = version_from_text(built_with);
  if (version && same_release(*version, library)) return;
  refuse(bundle, "its plan was built with TensorRT " + built_with + ", this is " + library.text() +
                     ": run " + build_again(bundle) +
                     " here, or name that release in LEVIT_TENSORRT_LIBRARY");
}

void require_capability(const Bundle& bundle, const EngineEntry& entry, const Capability& gpu) {
  const std::string listed = recorded(entry.requirements, "compute_capabilities");
  bool fits = false;
  for (std::size_t begin = 0; begin <= listed.size();) {
    const std::size_t end = std::min(listed.find(", ", begin), listed.size());
    const std::string one = listed.substr(begin, end - begin);
    if (!is_capability(one)) {
      throw Error(Status::input, printable(bundle.path()) +
                                     ": manifest.json: compute_capabilities " + quoted(listed) +
                                     " is not what levit-build writes");
    }
    fits = fits || one == gpu.text();
    begin = end + 2;
  }
  if (fits) return;
  refuse(bundle, "its plan was built for compute capability " + listed + ", this GPU has " +
                     gpu.text() + ": run " + build_again(bundle) + " here");
}

BatchSizes plan_batches(const Bundle& bundle, const EngineEntry& entry) {
  const Manifest& manifest = bundle.manifest();
  const Profile& profile = entry.profile;
  const auto side = static_cast<std::int64_t>(manifest.preprocessing.image_size);
  constexpr std::int64_t most_bytes = std::int64_t{1} << 30;
  const bool within =
      profile.minimum >= manifest.batch_minimum && profile.maximum <= manifest.batch_maximum;
  if (!within || profile.minimum > most_bytes / (side * side * 3 * 4)) {
    throw Error(Status::input,
                printable(bundle.path()) + ": manifest.json: a plan for " +
                    std::to_string(profile.minimum) + " to " + std::to_string(profile.maximum) +
                    " images cannot be of a graph for " + std::to_string(manifest.batch_minimum) +
                    " to " + std::to_string(manifest.batch_maximum) +
                    ", or takes more than 1 GiB: run " + build_again(bundle));
  }
  BatchSizes sizes;
  sizes.minimum = static_cast<int>(profile.minimum);
  sizes.maximum = static_cast<int>(profile.maximum);
  for (const int size : manifest.batch_verified) {
    if (size >= sizes.minimum && size <= sizes.maximum) sizes.verified.push_back(size);
  }
  if (sizes.verified.empty()) sizes.verified = {sizes.minimum, sizes.maximum};
  return sizes;
}

}  // namespace levit

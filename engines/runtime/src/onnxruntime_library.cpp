#include "onnxruntime_library.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <mutex>
#include <system_error>
#include <utility>
#include <vector>

#include "dynamic_library.hpp"
#include "environment_variable.hpp"
#include "error.hpp"
#include "one_line.hpp"

namespace levit {
namespace {

const char* const variable = "LEVIT_ONNXRUNTIME";
const char* const system_name = "libonnxruntime.so.1";
const char* const remedy =
    "install it (pip install onnxruntime has it) and name its libonnxruntime.so in "
    "LEVIT_ONNXRUNTIME";

// The number N of "1.N.x", or -1.
int minor_version(const std::string& version) {
  if (version.rfind("1.", 0) != 0) return -1;
  const std::size_t end = version.find_first_not_of("0123456789", 2);
  const std::string digits = version.substr(2, end == std::string::npos ? end : end - 2);
  return digits.empty() || digits.size() > 4 ? -1 : std::stoi(digits);
}

// Files of ONNX Runtime in `folder`: the one without or with the shortest version first.
std::vector<std::string> libraries_in(const std::string& folder) {
  std::vector<std::string> found;
  std::error_code problem;
  for (std::filesystem::directory_iterator entry(folder, problem), end; !problem && entry != end;
       entry.increment(problem)) {
    const std::string name = entry->path().filename().string();
    if (name.rfind("libonnxruntime.so", 0) == 0) found.push_back(entry->path().string());
  }
  std::sort(found.begin(), found.end());
  return found;
}

// The functions of the newest interface that both the headers and the library know. Asking for a
// newer one than the library has makes it print to stderr, so its version is read first. Throws
// Error(environment).
const OrtApi* negotiate(const OrtApiBase& base, const std::string& path) {
  const std::string version = base.GetVersionString();
  const int minor = minor_version(version);
  if (minor < oldest_onnxruntime_minor) {
    throw Error(Status::environment, path + ": ONNX Runtime " + version + " is too old, 1." +
                                         std::to_string(oldest_onnxruntime_minor) +
                                         " is not: " + remedy);
  }
  const OrtApi* api = base.GetApi(static_cast<std::uint32_t>(std::min(minor, ORT_API_VERSION)));
  if (api == nullptr) {
    throw Error(Status::environment, path + ": ONNX Runtime " + version +
                                         " does not offer its own interface: " + remedy);
  }
  return api;
}

OrtEnv* make_environment(const OrtApi& api, const std::string& path) {
  // Before the first environment exists: later it has already written below the home directory.
  set_unless_set("ORT_DISABLE_TELEMETRY", "1");
  OrtEnv* environment = nullptr;
  // Whatever goes wrong arrives as a status too; the log would only say it twice.
  if (OrtStatus* outcome = api.CreateEnv(ORT_LOGGING_LEVEL_FATAL, "levit", &environment)) {
    const std::string said = one_line(api.GetErrorMessage(outcome));
    api.ReleaseStatus(outcome);
    throw Error(Status::environment, path + ": ONNX Runtime cannot start (" + said + ")");
  }
  return environment;
}

// Every library that serves, of which each is on purpose never freed.
struct Opened {
  std::mutex mutex;
  std::vector<std::unique_ptr<OnnxRuntime>> runtimes;
};

// The library that `name` leads to, started unless it is already. Throws Error(environment).
const OnnxRuntime& open_or_throw(Opened& opened, const std::string& name) {
  DynamicLibrary library;
  std::string problem;
  if (!library.open(name, problem))
    throw Error(Status::environment, name + ": " + one_line(problem));
  const auto get_base = reinterpret_cast<const OrtApiBase* (*)()>(library.symbol("OrtGetApiBase"));
  if (get_base == nullptr) {
    throw Error(Status::environment,
                name + ": not a library of ONNX Runtime (it has no OrtGetApiBase): " + remedy);
  }
  const OrtApiBase& base = *get_base();
  auto runtime = std::make_unique<OnnxRuntime>();
  runtime->path = DynamicLibrary::path_of(reinterpret_cast<const void*>(get_base));
  if (runtime->path.empty()) runtime->path = name;
  for (const std::unique_ptr<OnnxRuntime>& known : opened.runtimes) {
    if (known->path == runtime->path) return *known;
  }
  runtime->version = base.GetVersionString();
  runtime->minor_version = minor_version(runtime->version);
  runtime->api = negotiate(base, runtime->path);
  runtime->environment = make_environment(*runtime->api, runtime->path);
  return *opened.runtimes.emplace_back(std::move(runtime));
}

// The same, but nullptr, and the reason in `tried`, when it cannot serve.
const OnnxRuntime* open_one(Opened& opened, const std::string& name, std::string& tried) {
  try {
    return &open_or_throw(opened, name);
  } catch (const Error& error) {
    tried += (tried.empty() ? "" : "; ") + std::string(error.what());
    return nullptr;
  }
}

// Who runs a program with more rights than its own must not choose what code is loaded into it.
std::string named_by_environment() {
  const char* const named = secure_getenv(variable);
  return named == nullptr ? std::string() : std::string(named);
}

const OnnxRuntime& open_named(Opened& opened, const std::string& path, const std::string& by) {
  std::string tried;
  // Without a slash the system's loader would look elsewhere than a reader of the message expects.
  const OnnxRuntime* runtime =
      open_one(opened, path.find('/') == std::string::npos ? "./" + path : path, tried);
  if (runtime == nullptr) {
    throw Error(Status::environment,
                "ONNX Runtime cannot be loaded from what " + by + " names (" + tried + ")");
  }
  return *runtime;
}

}  // namespace

std::string OnnxRuntime::message(OrtStatus* outcome) const {
  if (outcome == nullptr) return {};
  const std::string said = one_line(api->GetErrorMessage(outcome));
  api->ReleaseStatus(outcome);
  return said.empty() ? "no reason given" : said;
}

void OnnxRuntime::require(OrtStatus* outcome, Status status, const std::string& what) const {
  if (outcome == nullptr) return;
  throw Error(status, what + " (" + message(outcome) + ")");
}

const OnnxRuntime& load_onnxruntime(const std::string& path) {
  static Opened& opened = *new Opened;
  const std::lock_guard<std::mutex> lock(opened.mutex);
  if (!path.empty()) return open_named(opened, path, "the option");
  const std::string named = named_by_environment();
  if (!named.empty()) return open_named(opened, named, variable);
  std::vector<std::string> places = libraries_in(own_folder());
  places.emplace_back(system_name);
  std::string tried;
  for (const std::string& place : places) {
    if (const OnnxRuntime* runtime = open_one(opened, place, tried)) return *runtime;
  }
  throw Error(Status::environment,
              "ONNX Runtime is missing: " + std::string(remedy) + " (" + tried + ")");
}

bool finds_onnxruntime() {
  if (!named_by_environment().empty()) return true;
  try {
    load_onnxruntime("");
    return true;
  } catch (const Error& error) {
    if (error.status() != Status::environment) throw;
    return false;
  }
}

}  // namespace levit

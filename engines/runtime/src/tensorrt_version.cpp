#include "tensorrt_version.hpp"

#include "error.hpp"

namespace levit {
namespace {

constexpr int rtx_major = 1;
constexpr std::size_t most_digits = 6;

// The number at the beginning of `text`, which is taken away with the point behind it; -1 when
// there is none.
int take_number(std::string& text) {
  const std::size_t end = text.find_first_not_of("0123456789");
  const std::string digits = text.substr(0, end);
  const bool ends_well = end == std::string::npos || text[end] == '.';
  if (digits.empty() || digits.size() > most_digits || !ends_well) return -1;
  text.erase(0, end == std::string::npos ? end : end + 1);
  return std::stoi(digits);
}

}  // namespace

std::string TensorRtVersion::text() const {
  const std::string release =
      std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch);
  return build < 0 ? release : release + "." + std::to_string(build);
}

TensorRtVersion version_from_number(std::int32_t number) {
  // Until release 8 the major number had fewer digits behind it.
  const std::int32_t unit = number < 10000 ? 1000 : 10000;
  return {number / unit, number % unit / 100, number % 100, -1};
}

std::optional<TensorRtVersion> version_from_text(const std::string& text) {
  std::string rest = text;
  TensorRtVersion version;
  version.major = take_number(rest);
  version.minor = take_number(rest);
  version.patch = take_number(rest);
  if (version.major < 0 || version.minor < 0 || version.patch < 0) return std::nullopt;
  version.build = take_number(rest);
  return version;
}

bool same_release(const TensorRtVersion& one, const TensorRtVersion& other) {
  const bool same_build = one.build < 0 || other.build < 0 || one.build == other.build;
  return one.major == other.major && one.minor == other.minor && one.patch == other.patch &&
         same_build;
}

void require_same_interface(const std::string& path, const TensorRtVersion& library, int headers) {
  if (library.major == headers) return;
  const std::string wanted = "TensorRT " + std::to_string(headers);
  if (library.major == rtx_major) {
    throw Error(Status::environment,
                path + ": this is TensorRT-RTX " + library.text() +
                    ", whose plans levit-classify --engine tensorrt-rtx runs and this program does "
                    "not: name libnvinfer.so of " +
                    wanted + " in LEVIT_TENSORRT_LIBRARY");
  }
  throw Error(Status::environment,
              path + ": this is TensorRT " + library.text() +
                  ", this program was compiled with the headers of " + wanted +
                  ": name a library of that release in LEVIT_TENSORRT_LIBRARY, or compile it with "
                  "the headers of TensorRT " +
                  std::to_string(library.major) + " (-DTENSORRT_ROOT=FOLDER)");
}

}  // namespace levit

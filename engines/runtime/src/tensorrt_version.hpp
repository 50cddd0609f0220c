// Versions of TensorRT: a plan runs with the very release that built it, and our code with the
// major release whose headers it was compiled with.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace levit {

struct TensorRtVersion {
  int major = 0;
  int minor = 0;
  int patch = 0;
  int build = -1;  // -1 where it is not known

  std::string text() const;  // "10.13.3.9", or "10.13.3"
};

// What getInferLibVersion returned.
TensorRtVersion version_from_number(std::int32_t number);

// "10.13.3.9" as a manifest records it, of three or four numbers; what follows them is ignored, as
// in "10.13.3.9.post1". Nothing when it is worded otherwise.
std::optional<TensorRtVersion> version_from_text(const std::string& text);

// Whether they are the same release, as far as both say.
bool same_release(const TensorRtVersion& one, const TensorRtVersion& other);

// Throws Error(environment) unless the library at `path`, of this version, can be driven with the
// headers of the major release `headers`. TensorRT-RTX, whose releases begin with 1, cannot.
void require_same_interface(const std::string& path, const TensorRtVersion& library, int headers);

}  // namespace levit

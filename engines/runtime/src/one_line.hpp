// What other libraries say when they fail, made fit for one line of ours.
#pragma once

#include <string>

namespace levit {

// `said` without line breaks and control characters, and not longer than a reader bears.
std::string one_line(const std::string& said);

}  // namespace levit

// What of this machine decides which kernels an engine chose when it was built, in the words of
// levit-build.
#pragma once

#include <map>
#include <string>

namespace levit {

// "architecture" (as uname has it) and "instruction set" (names of features, in one order).
std::map<std::string, std::string> cpu_requirements();

// The relevant features of the first CPU in a text like /proc/cpuinfo, in one order, with spaces
// between them.
std::string instruction_set(const std::string& cpu_information);

}  // namespace levit

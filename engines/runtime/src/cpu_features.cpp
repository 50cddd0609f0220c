#include "cpu_features.hpp"

#include <sys/utsname.h>

#include <fstream>
#include <iterator>
#include <set>
#include <sstream>

namespace levit {
namespace {

// The list and the order of levit_deploy/machine.py; a test compares the two on the machine it runs
// on.
const char* const relevant_flags[] = {
    "avx",         "fma",         "avx2",     "avx_vnni", "avx512f",  "avx512bw", "avx512_vnni",
    "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16", "amx_fp16", "asimd",
    "asimdhp",     "asimddp",     "i8mm",     "bf16",     "sve",      "sve2",
};

std::string stripped(const std::string& text) {
  const char* const blank = " \t\r";
  const std::size_t first = text.find_first_not_of(blank);
  if (first == std::string::npos) return {};
  return text.substr(first, text.find_last_not_of(blank) - first + 1);
}

// Value of the first line "key : value", or "".
std::string first_value(const std::string& text, const std::string& key) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t colon = line.find(':');
    if (colon != std::string::npos && stripped(line.substr(0, colon)) == key)
      return stripped(line.substr(colon + 1));
  }
  return {};
}

}  // namespace

std::string instruction_set(const std::string& cpu_information) {
  std::string listed = first_value(cpu_information, "flags");
  if (listed.empty()) listed = first_value(cpu_information, "Features");  // ARM
  std::istringstream words(listed);
  const std::set<std::string> flags{std::istream_iterator<std::string>(words), {}};
  std::string known;
  for (const char* flag : relevant_flags) {
    if (flags.count(flag) != 0) known += (known.empty() ? "" : " ") + std::string(flag);
  }
  return known;
}

std::map<std::string, std::string> cpu_requirements() {
  utsname system{};
  uname(&system);
  std::ifstream file("/proc/cpuinfo");
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  return {{"architecture", system.machine}, {"instruction set", instruction_set(text)}};
}

}  // namespace levit

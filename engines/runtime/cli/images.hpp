// The images that the command line names, read into memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace levit_run {

struct NamedImage {
  std::string name;
  std::vector<std::uint8_t> content;
};

// The names, with every folder replaced by the JPEG and PNG files directly in it, sorted by name.
// Throws Failure(bad_input) for a folder without any.
std::vector<std::string> expand_folders(const std::vector<std::string>& names);

// The content of a file, or of standard input for "-". Throws Failure(bad_input) naming it.
NamedImage read_image(const std::string& name);

}  // namespace levit_run

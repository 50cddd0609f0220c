// Stands in for libFuzzer where it is not built: runs a target on the files of the folders that are
// named. The first folder has its seeds, each of which must get through the parser: a seed that is
// refused at the door exercises nothing, and neither does what libFuzzer makes of it.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "reached.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

namespace fs = std::filesystem;

std::vector<fs::path> files_in(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

// Whether the target got to its end.
bool replay(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file),
                                std::istreambuf_iterator<char>()};
  const std::size_t before = levit_fuzz::reached();
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  return levit_fuzz::reached() > before;
}

}  // namespace

int main(int count, char** arguments) {
  int seeds = 0;
  int others = 0;
  int refused = 0;
  for (int folder = 1; folder < count; ++folder) {
    for (const fs::path& path : files_in(arguments[folder])) {
      const bool is_seed = folder == 1;
      ++(is_seed ? seeds : others);
      if (replay(path) || !is_seed) continue;
      std::printf("%s: the target refuses its seed; write it again\n", path.c_str());
      ++refused;
    }
  }
  std::printf("%d seeds and %d other files replayed\n", seeds, others);
  return seeds > 0 && refused == 0 ? 0 : 1;
}

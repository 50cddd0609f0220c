#include "images.hpp"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <system_error>

#include "failure.hpp"
#include "text.hpp"

namespace levit_run {
namespace {

constexpr std::size_t largest_file = std::size_t{1} << 30;

bool is_image(const std::filesystem::path& path) {
  std::string ending = path.extension().string();
  std::transform(ending.begin(), ending.end(), ending.begin(),
                 [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  return ending == ".jpg" || ending == ".jpeg" || ending == ".png";
}

std::vector<std::string> images_in(const std::string& folder) {
  std::vector<std::string> found;
  std::error_code problem;
  for (std::filesystem::directory_iterator entry(folder, problem), end; !problem && entry != end;
       entry.increment(problem)) {
    std::error_code none;
    if (is_image(entry->path()) && entry->is_regular_file(none))
      found.push_back(entry->path().string());
  }
  if (problem)
    throw Failure(ExitCode::bad_input,
                  printable(folder) + ": cannot be read (" + problem.message() + ")");
  if (found.empty())
    throw Failure(ExitCode::bad_input, printable(folder) + ": holds no JPEG or PNG file");
  std::sort(found.begin(), found.end());
  return found;
}

[[noreturn]] void fail(const std::string& name, const char* reason) {
  throw Failure(ExitCode::bad_input, printable(name) + ": cannot be decoded: " + reason);
}

}  // namespace

std::vector<std::string> expand_folders(const std::vector<std::string>& names) {
  std::vector<std::string> expanded;
  for (const std::string& name : names) {
    std::error_code none;
    if (name != "-" && std::filesystem::is_directory(name, none)) {
      const std::vector<std::string> found = images_in(name);
      expanded.insert(expanded.end(), found.begin(), found.end());
    } else {
      expanded.push_back(name);
    }
  }
  return expanded;
}

NamedImage read_image(const std::string& name) {
  const auto close = [](std::FILE* file) {
    if (file != stdin) std::fclose(file);
  };
  const std::unique_ptr<std::FILE, decltype(close)> file(
      name == "-" ? stdin : std::fopen(name.c_str(), "rb"), close);
  if (file == nullptr) fail(name, std::strerror(errno));
  NamedImage image{name, {}};
  constexpr std::size_t step = std::size_t{1} << 16;
  std::size_t size = 0;
  for (std::size_t got = step; got == step; size += got) {
    if (size > largest_file) fail(name, "larger than 1 GiB");
    image.content.resize(size + step);
    got = std::fread(image.content.data() + size, 1, step, file.get());
  }
  if (std::ferror(file.get()) != 0) fail(name, std::strerror(errno));
  image.content.resize(size);
  return image;
}

}  // namespace levit_run

#include "bundle_files.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "error.hpp"
#include "text.hpp"

namespace levit {
namespace {

[[noreturn]] void fail(const std::string& path, int code) {
  // With O_NOFOLLOW a link is ELOOP, or ENOTDIR where a folder was asked for.
  if (code == ELOOP || code == ENOTDIR || code == ENOENT || code == EISDIR || code == ENXIO) {
    throw Error(
        Status::input,
        printable(path) + ": missing, or not a plain file of this bundle; export the bundle again");
  }
  throw Error(Status::input,
              printable(path) + ": cannot be read (" + std::generic_category().message(code) + ")");
}

// One step down; closes `folder`. Not blocking: a pipe in the place of a file must not stop us.
int open_below(int folder, const std::string& name, bool is_folder, const std::string& path) {
  const int flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | (is_folder ? O_DIRECTORY : 0);
  const int descriptor = openat(folder, name.c_str(), flags);
  const int code = errno;
  close(folder);
  if (descriptor < 0) fail(path, code);
  return descriptor;
}

}  // namespace

BundleFile::BundleFile(const std::string& folder, const std::string& name)
    : path_(folder + "/" + name) {
  int descriptor = open(folder.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECTORY);
  if (descriptor < 0) fail(path_, errno);
  std::size_t begin = 0;
  for (std::size_t end = name.find('/'); end != std::string::npos; end = name.find('/', begin)) {
    descriptor = open_below(descriptor, name.substr(begin, end - begin), true, path_);
    begin = end + 1;
  }
  descriptor_ = open_below(descriptor, name.substr(begin), false, path_);

  struct stat status = {};
  const bool known = fstat(descriptor_, &status) == 0;
  if (!known || !S_ISREG(status.st_mode)) {
    const int code = known ? ENOENT : errno;
    close(descriptor_);
    fail(path_, code);
  }
  size_bytes_ = static_cast<std::uint64_t>(status.st_size);
}

BundleFile::~BundleFile() { close(descriptor_); }

std::size_t BundleFile::read(std::uint8_t* buffer, std::size_t size) {
  std::size_t filled = 0;
  while (filled < size) {
    const ssize_t count = ::read(descriptor_, buffer + filled, size - filled);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(path_, errno);
    if (count == 0) break;
    filled += static_cast<std::size_t>(count);
  }
  return filled;
}

}  // namespace levit

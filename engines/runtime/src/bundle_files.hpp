// Opens files below a folder without ever following a link, so that nothing outside of the folder
// is read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace levit {

// A plain file that is open for reading; closed when it goes. Throws Error(input), naming the path.
class BundleFile {
 public:
  // `name` is relative to `folder`, with single slashes. The folder itself may be reached through
  // links; no component of the name may be one.
  BundleFile(const std::string& folder, const std::string& name);
  ~BundleFile();
  BundleFile(const BundleFile&) = delete;
  BundleFile& operator=(const BundleFile&) = delete;

  std::uint64_t size_bytes() const { return size_bytes_; }

  // Up to `size` bytes from where the last read ended; less only at the end of the file.
  std::size_t read(std::uint8_t* buffer, std::size_t size);

 private:
  std::string path_;
  int descriptor_ = -1;
  std::uint64_t size_bytes_ = 0;
};

}  // namespace levit

#include "decode_orientation.hpp"

#include <cstring>
#include <string>

#include "error.hpp"

namespace levit {
namespace {

constexpr std::uint32_t orientation_tag = 0x0112;
constexpr int upright = 1;

// Types of TIFF 6.0 and, from 13, of its supplements.
enum Type : std::uint32_t {
  type_short = 3,
  type_long = 4,
  type_rational = 5,
  type_signed_byte = 6,
  type_signed_short = 8,
  type_signed_long = 9,
  type_signed_rational = 10,
  type_float = 11,
  type_double = 12,
  type_ifd = 13,
  type_long8 = 16
};

// Bytes of one value; 0 for types that are unknown.
std::uint64_t size_of_type(std::uint32_t type) {
  static constexpr std::uint8_t sizes[] = {0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8};
  return type < sizeof sizes ? sizes[type] : 0;
}

class Tiff {
 public:
  Tiff(const std::uint8_t* data, std::size_t size, bool big_endian)
      : data_(data), size_(size), big_(big_endian) {}

  // Whether `count` bytes at `offset` are there.
  bool has(std::uint64_t offset, std::uint64_t count) const {
    return offset <= size_ && count <= size_ - offset;
  }

  std::uint64_t number(std::uint64_t offset, int bytes) const {
    std::uint64_t value = 0;
    for (int i = 0; i < bytes; ++i) {
      value = value << 8 | data_[offset + static_cast<std::uint64_t>(big_ ? i : bytes - 1 - i)];
    }
    return value;
  }

  std::size_t size() const { return size_; }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
  bool big_;
};

// A number as an orientation; 1 when it is none of 2 to 8.
template <typename Number>
int as_orientation(Number value) {
  for (int orientation = 2; orientation <= 8; ++orientation) {
    if (value == static_cast<Number>(orientation)) return orientation;
  }
  return upright;
}

int as_orientation(std::uint64_t numerator, std::uint64_t denominator) {
  // The signs of a signed fraction cancel or make it negative; two's complement keeps the division
  // exact enough here.
  for (std::uint64_t orientation = 2; orientation <= 8; ++orientation) {
    if (denominator != 0 && numerator == orientation * denominator)
      return static_cast<int>(orientation);
  }
  return upright;
}

// The first value at `offset`.
int value_at(const Tiff& tiff, std::uint32_t type, std::uint64_t offset) {
  switch (type) {
    case type_short:
    case type_signed_short:
      return as_orientation(tiff.number(offset, 2));
    case type_long:
    case type_signed_long:
    case type_ifd:
      return as_orientation(tiff.number(offset, 4));
    case type_signed_byte:
      return as_orientation(tiff.number(offset, 1));
    case type_long8:
      return as_orientation(tiff.number(offset, 8));
    case type_rational:
      return as_orientation(tiff.number(offset, 4), tiff.number(offset + 4, 4));
    case type_signed_rational: {
      const auto numerator = static_cast<std::int32_t>(tiff.number(offset, 4));
      const auto denominator = static_cast<std::int32_t>(tiff.number(offset + 4, 4));
      const auto positive = [](std::int64_t value) {
        return static_cast<std::uint64_t>(value < 0 ? -value : value);
      };
      if ((numerator < 0) != (denominator < 0)) return upright;
      return as_orientation(positive(numerator), positive(denominator));
    }
    case type_float: {
      const auto bits = static_cast<std::uint32_t>(tiff.number(offset, 4));
      float value = 0.0F;
      std::memcpy(&value, &bits, sizeof value);
      return as_orientation(value);
    }
    case type_double: {
      const std::uint64_t bits = tiff.number(offset, 8);
      double value = 0.0;
      std::memcpy(&value, &bits, sizeof value);
      return as_orientation(value);
    }
    default:
      return upright;  // texts and bytes are no numbers
  }
}

// The tag in the first directory. Empty when it is not there; a directory that breaks off counts up
// to there.
std::optional<int> tag_in(const Tiff& tiff, std::uint64_t directory) {
  if (!tiff.has(directory, 2)) return std::nullopt;
  const std::uint64_t entries = tiff.number(directory, 2);
  std::uint64_t outside_bytes = 0;
  for (std::uint64_t entry = 0; entry < entries; ++entry) {
    const std::uint64_t place = directory + 2 + 12 * entry;
    if (!tiff.has(place, 12)) return std::nullopt;
    const auto type = static_cast<std::uint32_t>(tiff.number(place + 2, 2));
    const std::uint64_t bytes = tiff.number(place + 4, 4) * size_of_type(type);
    if (bytes == 0) continue;
    std::uint64_t value = place + 8;
    if (bytes > 4) {
      // As Pillow: entries that promise more than the file holds, all together, are left out.
      outside_bytes += bytes;
      if (outside_bytes > tiff.size()) continue;
      value = tiff.number(value, 4);
      if (!tiff.has(value, bytes)) return std::nullopt;
    }
    if (tiff.number(place, 2) == orientation_tag) return value_at(tiff, type, value);
  }
  return std::nullopt;
}

[[noreturn]] void refuse() {
  throw Error(Status::input, "cannot be decoded: its EXIF data are not readable");
}

std::optional<int> exif_orientation(const std::vector<std::uint8_t>& exif) {
  static constexpr char prefix[] = {'E', 'x', 'i', 'f', '\0', '\0'};
  std::size_t begin = 0;
  for (int times = 0; times < 2; ++times) {
    if (exif.size() - begin >= sizeof prefix &&
        std::memcmp(exif.data() + begin, prefix, sizeof prefix) == 0) {
      begin += sizeof prefix;
    }
  }
  if (exif.size() == begin) return std::nullopt;
  const std::uint8_t* const data = exif.data() + begin;
  const std::size_t size = exif.size() - begin;
  if (size < 8) refuse();
  const std::string magic(reinterpret_cast<const char*>(data), 4);
  const bool big_endian = magic.compare(0, 2, "MM") == 0;
  const std::string version = magic.substr(2);
  const bool known = version == std::string("\0\x2a", 2) || version == std::string("\x2a\0", 2) ||
                     (big_endian && version == std::string("\0\x2b", 2));
  if ((!big_endian && magic.compare(0, 2, "II") != 0) || !known) refuse();
  const Tiff tiff(data, size, big_endian);
  return tag_in(tiff, tiff.number(4, 4));
}

int xmp_orientation(std::string_view xmp) {
  static constexpr std::string_view key = "tiff:Orientation";
  for (std::size_t place = xmp.find(key); place != std::string_view::npos;
       place = xmp.find(key, place + 1)) {
    std::string_view rest = xmp.substr(place + key.size());
    const std::size_t skipped = rest.substr(0, 2) == "=\"" ? 2 : rest.substr(0, 1) == ">" ? 1 : 0;
    if (skipped == 0 || rest.size() <= skipped) continue;
    const char digit = rest[skipped];
    if (digit >= '0' && digit <= '9') return as_orientation(digit - '0');
  }
  return upright;
}

}  // namespace

int orientation_of(const OrientationSources& sources) {
  std::optional<int> orientation;
  if (sources.has_exif) {
    try {
      orientation = exif_orientation(sources.exif);
    } catch (const Error&) {
      if (!sources.exif_may_be_broken) throw;
      return upright;
    }
  }
  return orientation ? *orientation : xmp_orientation(sources.xmp);
}

}  // namespace levit

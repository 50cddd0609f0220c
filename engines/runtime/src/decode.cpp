#include "decode.hpp"

#include <string>
#include <string_view>

#include "decode_formats.hpp"
#include "error.hpp"

namespace levit {
namespace {

struct Format {
  std::string_view signature;
  std::string_view name;
};

// What the Python package decodes and this runtime does not; named, so that the message says what
// to do.
constexpr Format other_formats[] = {
    {"GIF87a", "GIF"},      {"GIF89a", "GIF"},      {"BM", "BMP"},          {{"II*\0", 4}, "TIFF"},
    {{"MM\0*", 4}, "TIFF"}, {{"II+\0", 4}, "TIFF"}, {{"MM\0+", 4}, "TIFF"}, {"P1", "PPM"},
    {"P2", "PPM"},          {"P3", "PPM"},          {"P4", "PPM"},          {"P5", "PPM"},
    {"P6", "PPM"},
};

bool begins_with(std::string_view bytes, std::string_view signature) {
  return bytes.substr(0, signature.size()) == signature;
}

[[noreturn]] void refuse_format(std::string_view bytes) {
  const bool webp =
      begins_with(bytes, "RIFF") && bytes.size() >= 12 && bytes.substr(8, 4) == "WEBP";
  std::string_view name = webp ? "WEBP" : "";
  for (const Format& format : other_formats) {
    if (begins_with(bytes, format.signature)) name = format.name;
  }
  if (name.empty()) throw Error(Status::input, "not an image, or not one of JPEG, PNG");
  throw Error(Status::input, std::string(name) +
                                 " images are not read by this runtime: convert it to JPEG or PNG");
}

}  // namespace

void require_decodable_size(std::int64_t width, std::int64_t height) {
  if (width < 1 || height < 1) throw Error(Status::input, "not an image, or not one of JPEG, PNG");
  if (width > max_pixels / height) {
    throw Error(Status::input, std::to_string(width) + " x " + std::to_string(height) +
                                   " pixels exceed the limit of " + std::to_string(max_pixels) +
                                   ": shrink the image");
  }
}

void decode_image(const std::uint8_t* data, std::size_t size, Image& image,
                  bool apply_exif_orientation) {
  if (data == nullptr) size = 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (begins_with(bytes, "\xFF\xD8\xFF")) {
    decode_jpeg(data, size, image, apply_exif_orientation);
  } else if (begins_with(bytes, {"\x89PNG\r\n\x1A\n", 8})) {
    decode_png(data, size, image, apply_exif_orientation);
  } else {
    refuse_format(bytes);
  }
}

}  // namespace levit

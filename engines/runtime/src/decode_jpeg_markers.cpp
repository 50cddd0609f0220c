#include "decode_jpeg_markers.hpp"

#include <string>
#include <string_view>
#include <utility>

#include "error.hpp"

namespace levit {
namespace {

[[noreturn]] void refuse(const char* reason) {
  throw Error(Status::input, std::string("cannot be decoded: broken JPEG file (") + reason + ")");
}

class Reader {
 public:
  Reader(const std::uint8_t* data, std::size_t size, bool with_orientation)
      : data_(data), size_(size), with_orientation_(with_orientation) {}

  JpegMarkers read() {
    // Pillow's walk: everything between markers is skipped, and so are markers without a segment.
    while (position_ + 1 < size_) {
      if (data_[position_] != 0xFF) {
        ++position_;
        continue;
      }
      const int code = data_[position_ + 1];
      if (code == 0xFF) {
        ++position_;
      } else if (code == 0x00) {
        position_ += 2;
      } else if (code < 0xC0) {
        refuse("no marker found");
      } else {
        position_ += 2;
        handle(code);
        if (code == start_of_scan) return finished();
      }
    }
    refuse("no image in it");
  }

 private:
  static constexpr int start_of_scan = 0xDA;

  void handle(int code) {
    // Markers without segment: JPG, RSTn, SOI, EOI, JPGn.
    const bool bare =
        code == 0xC8 || (code >= 0xD0 && code <= 0xD9) || (code >= 0xF0 && code <= 0xFD);
    if (bare) return;
    const std::string_view segment = take_segment();
    const bool frame = code >= 0xC0 && code <= 0xCF && code != 0xC4 && code != 0xCC;
    if (frame || code == 0xDE) read_frame(segment);
    if (code == 0xDB) check_quantization(segment);
    if (code == 0xE0) read_jfif(segment);
    if (code == 0xE1 && with_orientation_) read_app1(segment);
    if (code == 0xEE && starts(segment, "Adobe") && segment.size() < 7)
      refuse("short Adobe segment");
  }

  std::string_view take_segment() {
    if (size_ - position_ < 2) refuse("truncated");
    const std::size_t length = word(position_);
    position_ += 2;
    const std::size_t content = length < 2 ? 0 : length - 2;
    if (size_ - position_ < content) refuse("truncated");
    const std::string_view segment(reinterpret_cast<const char*>(data_) + position_, content);
    position_ += content;
    return segment;
  }

  void read_frame(std::string_view segment) {
    if (segment.size() < 6 || (segment.size() - 6) % 3 != 0) refuse("short frame header");
    const auto byte = [&](std::size_t index) { return static_cast<unsigned char>(segment[index]); };
    if (byte(0) != 8) refuse("only 8 bits a channel are covered");
    markers_.height = byte(1) << 8 | byte(2);
    markers_.width = byte(3) << 8 | byte(4);
    markers_.components = byte(5);
    if (markers_.components != 1 && markers_.components != 3 && markers_.components != 4) {
      refuse("it has neither 1 nor 3 nor 4 channels");
    }
  }

  static void check_quantization(std::string_view segment) {
    while (!segment.empty()) {
      const std::size_t length = 1 + (static_cast<unsigned char>(segment[0]) < 16 ? 64 : 128);
      if (segment.size() < length) refuse("bad quantization table");
      segment.remove_prefix(length);
    }
  }

  void read_jfif(std::string_view segment) {
    if (!starts(segment, "JFIF")) return;
    if (segment.size() < 7) refuse("short JFIF segment");
    if (segment.size() >= 12 && (segment[7] == 1 || segment[7] == 2)) has_resolution_ = true;
  }

  void read_app1(std::string_view segment) {
    static constexpr std::string_view exif_key("Exif\0\0", 6);
    static constexpr std::string_view xmp_key("http://ns.adobe.com/xap/1.0/\0", 29);
    OrientationSources& sources = markers_.orientation;
    if (starts(segment, exif_key)) {
      // An EXIF longer than a segment goes on in the next one.
      const std::string_view part = sources.has_exif ? segment.substr(exif_key.size()) : segment;
      sources.exif.insert(sources.exif.end(), part.begin(), part.end());
      sources.has_exif = true;
    } else if (starts(segment, xmp_key)) {
      sources.xmp = segment.substr(xmp_key.size());
    }
  }

  JpegMarkers finished() {
    if (markers_.components == 0) refuse("no frame header");
    // Pillow reads the EXIF of files without resolution when it opens them, and forgives; else when
    // asked, and does not.
    markers_.orientation.exif_may_be_broken = !has_resolution_;
    return std::move(markers_);
  }

  static bool starts(std::string_view text, std::string_view beginning) {
    return text.substr(0, beginning.size()) == beginning;
  }

  std::size_t word(std::size_t at) const {
    return static_cast<std::size_t>(data_[at]) << 8 | data_[at + 1];
  }

  const std::uint8_t* data_;
  std::size_t size_;
  bool with_orientation_;
  std::size_t position_ = 2;
  bool has_resolution_ = false;
  JpegMarkers markers_;
};

}  // namespace

JpegMarkers read_jpeg_markers(const std::uint8_t* data, std::size_t size, bool with_orientation) {
  return Reader(data, size, with_orientation).read();
}

}  // namespace levit

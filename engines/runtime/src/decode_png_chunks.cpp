#include "decode_png_chunks.hpp"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

#include "decode_png_text.hpp"
#include "error.hpp"

namespace levit {
namespace {

constexpr std::size_t signature_bytes = 8;
constexpr std::size_t most_text_bytes = std::size_t{64}
                                        << 20;  // PIL.PngImagePlugin.MAX_TEXT_MEMORY

[[noreturn]] void refuse(const std::string& reason) {
  throw Error(Status::input, "cannot be decoded: broken PNG file (" + reason + ")");
}

struct Chunk {
  std::string_view kind;
  std::string_view content;
  std::uint64_t length = 0;  // as it was announced; `content` is shorter where the file ends before
};

class Walk {
 public:
  Walk(const std::uint8_t* data, std::size_t size, bool with_orientation)
      : file_(reinterpret_cast<const char*>(data), size), with_orientation_(with_orientation) {}

  PngChunks read() {
    // Pillow checks the sums of what comes before the pixels, and none after them.
    Chunk chunk;
    while (true) {
      if (!next(chunk)) refuse("it ends before the image");
      if (chunk.kind == "IDAT") break;
      if (chunk.kind == "IEND") refuse("no image in it");
      handle(chunk);
      check_sum(chunk);
    }
    require_known_kind();  // so there was a header; none may follow
    data_began_ = true;
    read_data(chunk);
    read_remainder(chunk);
    finish_orientation();
    return std::move(chunks_);
  }

 private:
  // Reads the next chunk; false where the file ends, or no chunk can begin.
  bool next(Chunk& chunk) {
    if (file_.size() - position_ < 4) return false;
    chunk.length = big_endian(file_.substr(position_));
    chunk.kind = file_.substr(position_ + 4, 4);
    if (chunk.kind.size() < 4 || !std::all_of(chunk.kind.begin(), chunk.kind.end(), is_word)) {
      if (!data_began_) refuse("a chunk without a name");
      return false;
    }
    chunk.content = file_.substr(position_ + 8, static_cast<std::size_t>(chunk.length));
    position_ += 8 + chunk.content.size();
    return true;
  }

  static bool is_word(char character) {
    return (character >= 'A' && character <= 'Z') || (character >= 'a' && character <= 'z') ||
           (character >= '0' && character <= '9') || character == '_';
  }

  static std::uint32_t big_endian(std::string_view bytes) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
    return value;
  }

  void skip_sum() { position_ = std::min(position_ + 4, file_.size()); }

  void check_sum(const Chunk& chunk) {
    if (file_.size() - position_ < 4) refuse("incomplete checksum");
    const auto* const bytes = reinterpret_cast<const Bytef*>(chunk.kind.data());
    // The content follows the name in the file.
    const uLong sum = crc32_z(0, bytes, 4 + chunk.content.size());
    if (sum != big_endian(file_.substr(position_))) refuse("wrong checksum");
    position_ += 4;
  }

  void handle(const Chunk& chunk) {
    if (chunk.content.size() < chunk.length) refuse("truncated");
    if (chunk.kind == "IHDR") read_header(chunk.content);
    if (chunk.kind == "PLTE" && !data_began_) read_palette(chunk.content);
    if (chunk.kind == "tRNS") check_transparency(chunk.content);
    require_length(chunk, "gAMA", 4);
    require_length(chunk, "cHRM", 32);
    require_length(chunk, "sRGB", 1);
    require_length(chunk, "pHYs", 9);
    require_length(chunk, "acTL", 8);
    if (chunk.kind == "fcTL") check_frame(chunk.content);
    const bool text = chunk.kind == "tEXt" || chunk.kind == "zTXt" || chunk.kind == "iTXt";
    if (text) read_text(chunk);
    if (chunk.kind == "eXIf" && with_orientation_)
      set_exif({chunk.content.begin(), chunk.content.end()});
  }

  static void require_length(const Chunk& chunk, std::string_view kind, std::size_t length) {
    if (chunk.kind == kind && chunk.content.size() < length)
      refuse("a short " + std::string(kind) + " chunk");
  }

  void read_header(std::string_view content) {
    if (has_header_) refuse("two IHDR chunks");
    has_header_ = true;
    if (content.size() < 13) refuse("a short IHDR chunk");
    chunks_.width = big_endian(content);
    chunks_.height = big_endian(content.substr(4));
    const int depth = content[8];
    const int colour = static_cast<unsigned char>(content[9]);
    const bool deep = depth == 8 || depth == 16;
    const bool shallow = depth == 1 || depth == 2 || depth == 4;
    known_kind_ = (colour == 0 && (deep || shallow)) || (colour == 3 && (depth == 8 || shallow)) ||
                  ((colour == 2 || colour == 4 || colour == 6) && deep);
    if (known_kind_) {
      chunks_.bit_depth = depth;
      chunks_.colour = static_cast<PngColour>(colour);
    }
    if (content[12] != '\0') chunks_.interlaced = true;
    if (content[11] != '\0') refuse("unknown filter category");
  }

  void require_known_kind() const {
    if (!known_kind_) refuse("no known kind of pixels");
    if (chunks_.colour == PngColour::palette &&
        (palette_bytes_ >= 257 * 3 || transparency_bytes_ > 256)) {
      refuse("a palette of more than 256 colours");
    }
  }

  void read_palette(std::string_view content) {
    if (chunks_.colour != PngColour::palette) return;
    palette_bytes_ = content.size();
    chunks_.palette.fill(0);
    const std::size_t whole = std::min(content.size() / 3 * 3, chunks_.palette.size());
    std::memcpy(chunks_.palette.data(), content.data(), whole);
  }

  void check_transparency(std::string_view content) {
    if (chunks_.colour == PngColour::palette && !data_began_) transparency_bytes_ = content.size();
    const bool short_grey = chunks_.colour == PngColour::grey && content.size() < 2;
    const bool short_rgb = chunks_.colour == PngColour::rgb && content.size() < 6;
    if (short_grey || short_rgb) refuse("a short tRNS chunk");
  }

  // Of an animation the first frame is taken, which must be a whole image.
  void check_frame(std::string_view content) {
    if (content.size() < 26) refuse("a short fcTL chunk");
    if (data_began_) return;
    const bool whole = big_endian(content.substr(4)) == chunks_.width &&
                       big_endian(content.substr(8)) == chunks_.height &&
                       big_endian(content.substr(12)) == 0 && big_endian(content.substr(16)) == 0;
    if (!whole || has_frame_ || big_endian(content) != 0)
      refuse("a first frame that is no whole image");
    has_frame_ = true;
  }

  void read_text(const Chunk& chunk) {
    std::optional<PngText> entry = read_png_text(chunk.kind, chunk.content);
    if (!entry) return;
    text_bytes_ += entry->text.size();
    if (text_bytes_ > most_text_bytes) refuse("too much text");
    if (!with_orientation_) return;
    if (entry->key == "exif" && chunk.kind == "tEXt")
      set_exif({entry->text.begin(), entry->text.end()});
    if (entry->key == "XML:com.adobe.xmp") chunks_.xmp = std::move(entry->text);
    if (entry->key == "Raw profile type exif") raw_profile_ = std::move(entry->text);
  }

  void set_exif(std::vector<std::uint8_t> exif) {
    chunks_.orientation.has_exif = true;
    chunks_.orientation.exif = std::move(exif);
  }

  // The data of consecutive chunks; `chunk` is the first of them, and afterwards the first that is
  // another.
  void read_data(Chunk& chunk) {
    do {
      const auto* const bytes = reinterpret_cast<const std::uint8_t*>(chunk.content.data());
      chunks_.data.push_back({bytes, chunk.content.size()});
      skip_sum();
      more_ = next(chunk);
    } while (more_ && chunk.kind == "IDAT");
  }

  void read_remainder(Chunk& chunk) {
    while (more_ && chunk.kind != "IEND") {
      if (chunk.kind == "fcTL" && has_frame_) return;  // the next frame of an animation
      handle(chunk);
      skip_sum();
      more_ = next(chunk);
    }
  }

  void finish_orientation() {
    if (!chunks_.orientation.has_exif && raw_profile_)
      set_exif(exif_from_raw_profile(*raw_profile_));
  }

  std::string_view file_;
  bool with_orientation_;
  std::size_t position_ = signature_bytes;
  bool has_header_ = false;
  bool known_kind_ = false;
  bool data_began_ = false;
  bool has_frame_ = false;
  bool more_ = false;
  std::size_t palette_bytes_ = 0;
  std::size_t transparency_bytes_ = 0;
  std::size_t text_bytes_ = 0;
  std::optional<std::string> raw_profile_;
  PngChunks chunks_;
};

}  // namespace

PngChunks read_png_chunks(const std::uint8_t* data, std::size_t size, bool with_orientation) {
  return Walk(data, size, with_orientation).read();
}

}  // namespace levit

// libpng gets a stream of our own making: a header, the image data, the end. Nothing else of the
// file reaches it, so that its many readers of other chunks are not exposed to strangers, and
// gamma, profiles and transparency change no pixel.
//
// libpng reports errors by a function that must not return; ours jumps. The functions that a jump
// can leave hold nothing that has a destructor, and are marked.

#include <png.h>

#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "decode_formats.hpp"
#include "decode_placement.hpp"
#include "decode_png_chunks.hpp"
#include "error.hpp"

namespace levit {
namespace {

constexpr std::size_t prologue_bytes = 8 + 12 + 13;  // signature, IHDR
constexpr std::size_t chunk_begin_bytes = 8;
constexpr std::size_t sum_bytes = 4;

void put_big_endian(std::uint8_t* bytes, std::uint64_t value) {
  for (int i = 0; i < 4; ++i) bytes[i] = static_cast<std::uint8_t>(value >> (24 - 8 * i));
}

// The stream that libpng reads: pieces of memory, one after the other. Checksums are left zero, as
// none is looked at.
class PngStream {
 public:
  explicit PngStream(const PngChunks& chunks) : chunks_(chunks) {
    static constexpr std::uint8_t beginning[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n',
                                                 0,    0,   0,   13,  'I',  'H',  'D',  'R'};
    std::memcpy(prologue_, beginning, sizeof beginning);
    std::uint8_t* const header = prologue_ + sizeof beginning;
    put_big_endian(header, static_cast<std::uint64_t>(chunks.width));
    put_big_endian(header + 4, static_cast<std::uint64_t>(chunks.height));
    header[8] = static_cast<std::uint8_t>(chunks.bit_depth);
    // Indices are read as if they were levels of grey: the palette is looked up by us.
    const bool indexed = chunks.colour == PngColour::palette;
    header[9] = indexed ? 0 : static_cast<std::uint8_t>(chunks.colour);
    header[12] = chunks.interlaced ? 1 : 0;
    piece_ = {prologue_, prologue_bytes};
  }

  // False at the end.
  bool read(std::uint8_t* buffer, std::size_t size) {
    while (size > 0) {
      if (piece_.size == 0 && !next_piece()) return false;
      const std::size_t count = std::min(size, piece_.size);
      std::memcpy(buffer, piece_.data, count);
      buffer += count;
      size -= count;
      piece_.data += count;
      piece_.size -= count;
    }
    return true;
  }

 private:
  // Of each data chunk: its beginning, its data, its checksum.
  bool next_piece() {
    if (chunk_ == chunks_.data.size()) return false;
    const ByteView content = chunks_.data[chunk_];
    switch (part_) {
      case 0:
        put_big_endian(beginning_, content.size);
        std::memcpy(beginning_ + 4, "IDAT", 4);
        piece_ = {beginning_, chunk_begin_bytes};
        part_ = 1;
        break;
      case 1:
        piece_ = content;
        part_ = 2;
        break;
      default:
        piece_ = {no_sum_, sum_bytes};
        part_ = 0;
        ++chunk_;
    }
    return true;
  }

  const PngChunks& chunks_;
  std::uint8_t prologue_[prologue_bytes] = {};
  std::uint8_t beginning_[chunk_begin_bytes] = {};
  std::uint8_t no_sum_[sum_bytes] = {};
  ByteView piece_;
  std::size_t chunk_ = 0;
  int part_ = 0;
};

// One for each image: libpng has nothing that readies a reader for another stream.
class PngDecoder {
 public:
  explicit PngDecoder(PngStream& stream) : stream_(&stream) {}
  ~PngDecoder() { png_destroy_read_struct(&png_, &info_, nullptr); }
  PngDecoder(const PngDecoder&) = delete;
  PngDecoder& operator=(const PngDecoder&) = delete;

  // False, with a message, where the stream is broken.
  bool start();
  // `is_last` when no pixels follow those of this row; what comes after them is not looked at.
  // `is_empty` when the pass has no pixels of this row.
  bool read_row(std::uint8_t* row, bool is_last, bool is_empty = false);

  int passes() const { return passes_; }
  int channels() const { return channels_; }
  const char* message() const { return message_; }

 private:
  [[noreturn]] static void leave(png_structp png, png_const_charp message);
  static void ignore(png_structp, png_const_charp) {}
  static void read(png_structp png, png_bytep buffer, std::size_t size);
  static void mark_row(png_structp png, png_row_infop, png_bytep);

  PngStream* stream_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  int passes_ = 1;
  int channels_ = 0;
  bool row_is_decoded_ = false;
  std::jmp_buf escape_;
  char message_[128] = {};
};

void PngDecoder::leave(png_structp png, png_const_charp message) {
  auto* const self = static_cast<PngDecoder*>(png_get_error_ptr(png));
  std::snprintf(self->message_, sizeof self->message_, "%s", message);
  std::longjmp(self->escape_, 1);
}

void PngDecoder::read(png_structp png, png_bytep buffer, std::size_t size) {
  auto* const self = static_cast<PngDecoder*>(png_get_io_ptr(png));
  if (!self->stream_->read(buffer, size)) png_error(png, "image file is truncated");
}

// libpng's hook for transformations: it tells that the row has arrived.
void PngDecoder::mark_row(png_structp png, png_row_infop, png_bytep) {
  static_cast<PngDecoder*>(png_get_io_ptr(png))->row_is_decoded_ = true;
}

// A jump can leave this function.
bool PngDecoder::start() {
  if (setjmp(escape_) != 0) return false;
  png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, leave, ignore);
  info_ = png_ == nullptr ? nullptr : png_create_info_struct(png_);
  if (info_ == nullptr) {
    std::snprintf(message_, sizeof message_, "no memory");
    return false;
  }
  png_set_read_fn(png_, this, read);
  png_set_crc_action(png_, PNG_CRC_QUIET_USE, PNG_CRC_QUIET_USE);
  png_set_benign_errors(png_, 1);
  png_set_user_limits(png_, 0x7FFFFFFF, 0x7FFFFFFF);  // the number of pixels was checked before
  png_read_info(png_, info_);
  png_set_packing(png_);
  png_set_strip_16(png_);
  png_set_read_user_transform_fn(png_, mark_row);
  passes_ = png_set_interlace_handling(png_);
  png_read_update_info(png_, info_);
  channels_ = png_get_channels(png_, info_);
  return true;
}

// A jump can leave this function.
bool PngDecoder::read_row(std::uint8_t* row, bool is_last, bool is_empty) {
  // With the last row libpng reads to the end of the data. Pillow does not, so a damaged end
  // damages no image.
  const volatile bool was_last = is_last;  // a jump may change what is in registers
  if (setjmp(escape_) != 0) return was_last && row_is_decoded_;
  row_is_decoded_ = is_last && is_empty;
  png_read_row(png_, row, nullptr);
  return true;
}

void require(bool done, const PngDecoder& decoder) {
  if (!done)
    throw Error(Status::input,
                std::string("cannot be decoded: broken PNG file (") + decoder.message() + ")");
}

// What a level of grey or an index of the palette becomes.
std::array<std::uint8_t, 256 * 3> colours_of(const PngChunks& chunks) {
  if (chunks.colour == PngColour::palette) return chunks.palette;
  std::array<std::uint8_t, 256 * 3> colours = {};
  const unsigned highest = chunks.bit_depth >= 8 ? 255 : (1U << chunks.bit_depth) - 1;
  for (std::size_t level = 0; level <= highest; ++level) {
    const auto value = static_cast<std::uint8_t>(level * 255 / highest);
    std::fill_n(colours.begin() + static_cast<std::ptrdiff_t>(3 * level), 3, value);
  }
  return colours;
}

// Rows of one to four channels as RGB; alpha is dropped.
class RowConverter {
 public:
  RowConverter(const PngChunks& chunks, int channels)
      : colours_(colours_of(chunks)),
        width_(static_cast<std::size_t>(chunks.width)),
        channels_(channels) {}

  void convert(const std::uint8_t* row, std::uint8_t* rgb) const {
    if (channels_ >= 3) {
      for (std::size_t pixel = 0; pixel < width_; ++pixel, row += channels_, rgb += 3)
        std::memcpy(rgb, row, 3);
    } else {
      for (std::size_t pixel = 0; pixel < width_; ++pixel, row += channels_, rgb += 3) {
        std::memcpy(rgb, colours_.data() + std::size_t{3} * *row, 3);
      }
    }
  }

 private:
  std::array<std::uint8_t, 256 * 3> colours_;
  std::size_t width_;
  int channels_;
};

// Rows as libpng gives them; of an interlaced image all of them, as every pass adds to them.
void read_pixels(PngDecoder& decoder, const PngChunks& chunks, const Placement& placement,
                 std::vector<std::uint8_t>& scratch) {
  constexpr int block = Placement::block_rows;
  const int height = static_cast<int>(chunks.height);
  const std::size_t width = static_cast<std::size_t>(chunks.width);
  const std::size_t row_bytes = width * static_cast<std::size_t>(decoder.channels());
  const bool whole = decoder.passes() > 1;
  const std::size_t raw_bytes = row_bytes * static_cast<std::size_t>(whole ? height : 1);
  if (scratch.size() < raw_bytes + width * 3 * block) scratch.resize(raw_bytes + width * 3 * block);
  std::uint8_t* const raw = scratch.data();
  std::uint8_t* const converted = raw + raw_bytes;
  for (int pass = 0; whole && pass < decoder.passes(); ++pass) {
    for (int row = 0; row < height; ++row) {
      // The last pass has the odd rows only.
      const bool is_last = pass == decoder.passes() - 1 && row == height - 1;
      require(
          decoder.read_row(raw + static_cast<std::size_t>(row) * row_bytes, is_last, row % 2 == 0),
          decoder);
    }
  }
  const RowConverter converter(chunks, decoder.channels());
  for (int first = 0; first < height; first += block) {
    const int count = std::min(block, height - first);
    for (int i = 0; i < count; ++i) {
      const std::uint8_t* const row =
          whole ? raw + static_cast<std::size_t>(first + i) * row_bytes : raw;
      if (!whole) require(decoder.read_row(raw, first + i == height - 1), decoder);
      converter.convert(row, converted + static_cast<std::size_t>(i) * width * 3);
    }
    placement.place(first, count, converted);
  }
}

}  // namespace

void decode_png(const std::uint8_t* data, std::size_t size, Image& image,
                bool apply_exif_orientation) {
  PngChunks chunks = read_png_chunks(data, size, apply_exif_orientation);
  require_decodable_size(chunks.width, chunks.height);
  if (!chunks.xmp.empty()) chunks.orientation.xmp = chunks.xmp;
  const int orientation = apply_exif_orientation ? orientation_of(chunks.orientation) : 1;
  PngStream stream(chunks);
  PngDecoder decoder(stream);
  require(decoder.start(), decoder);
  const Placement placement(image, static_cast<int>(chunks.width), static_cast<int>(chunks.height),
                            orientation);
  read_pixels(decoder, chunks, placement, image.scratch);
}

}  // namespace levit

// libjpeg reports errors by a function that must not return; ours jumps. The functions that a jump
// can leave hold nothing that has a destructor, and are marked.

// clang-format off
#include <cstdio>  // jpeglib.h needs it and does not include it
#include <jpeglib.h>
// clang-format on

#include <algorithm>
#include <csetjmp>
#include <string>

#include "decode_formats.hpp"
#include "decode_jpeg_markers.hpp"
#include "decode_placement.hpp"
#include "error.hpp"

namespace levit {
namespace {

// More scans than any encoder makes: each costs a pass over all coefficients, of a few bytes in the
// file.
constexpr int most_scans = 500;

enum class Outcome { done, broken, truncated };

// One for each image, though libjpeg could go on with another: it keeps the tables of the last one,
// and a file without its own would be decoded with those.
class JpegDecoder {
 public:
  JpegDecoder(const std::uint8_t* data, std::size_t size);
  ~JpegDecoder() { jpeg_destroy_decompress(&decoder_); }
  JpegDecoder(const JpegDecoder&) = delete;
  JpegDecoder& operator=(const JpegDecoder&) = delete;

  Outcome read_header(J_COLOR_SPACE wanted);
  Outcome start();
  Outcome read_rows(std::uint8_t* const* rows, int count);
  bool finish();

  int width() const { return static_cast<int>(decoder_.image_width); }
  int height() const { return static_cast<int>(decoder_.image_height); }
  int channels() const { return decoder_.output_components; }
  const char* message() const { return message_; }

 private:
  [[noreturn]] static void leave(j_common_ptr decoder);
  static void watch_progress(j_common_ptr decoder);
  static boolean no_more_input(j_decompress_ptr) { return FALSE; }
  static void skip_input(j_decompress_ptr decoder, long count);
  static void ignore(j_decompress_ptr) {}

  jpeg_decompress_struct decoder_ = {};
  jpeg_error_mgr errors_ = {};
  jpeg_source_mgr source_ = {};
  jpeg_progress_mgr progress_ = {};
  std::jmp_buf escape_;
  char message_[JMSG_LENGTH_MAX] = {};
};

JpegDecoder::JpegDecoder(const std::uint8_t* data, std::size_t size) {
  decoder_.err = jpeg_std_error(&errors_);
  errors_.error_exit = leave;
  // Warnings are silent, as in Pillow: libjpeg goes on with what it has.
  errors_.output_message = [](j_common_ptr) {};
  decoder_.client_data = this;
  source_.next_input_byte = data;
  source_.bytes_in_buffer = size;
  source_.init_source = ignore;
  source_.term_source = ignore;
  source_.fill_input_buffer = no_more_input;
  source_.skip_input_data = skip_input;
  source_.resync_to_restart = jpeg_resync_to_restart;
  progress_.progress_monitor = watch_progress;
}

void JpegDecoder::leave(j_common_ptr decoder) {
  auto* const self = static_cast<JpegDecoder*>(decoder->client_data);
  decoder->err->format_message(decoder, self->message_);
  std::longjmp(self->escape_, 1);
}

void JpegDecoder::watch_progress(j_common_ptr decoder) {
  auto* const self = static_cast<JpegDecoder*>(decoder->client_data);
  if (self->decoder_.input_scan_number <= most_scans) return;
  std::snprintf(self->message_, sizeof self->message_, "more than %d scans", most_scans);
  std::longjmp(self->escape_, 1);
}

void JpegDecoder::skip_input(j_decompress_ptr decoder, long count) {
  jpeg_source_mgr* const source = decoder->src;
  const std::size_t skipped =
      std::min(static_cast<std::size_t>(std::max(count, 0L)), source->bytes_in_buffer);
  source->next_input_byte += skipped;
  source->bytes_in_buffer -= skipped;
}

// A jump can leave this function.
Outcome JpegDecoder::read_header(J_COLOR_SPACE wanted) {
  if (setjmp(escape_) != 0) return Outcome::broken;
  jpeg_create_decompress(&decoder_);
  decoder_.src = &source_;
  decoder_.progress = &progress_;
  int result = JPEG_HEADER_TABLES_ONLY;
  while (result == JPEG_HEADER_TABLES_ONLY) result = jpeg_read_header(&decoder_, FALSE);
  if (result == JPEG_SUSPENDED) return Outcome::truncated;
  decoder_.out_color_space = wanted;
  return Outcome::done;
}

// A jump can leave this function.
Outcome JpegDecoder::start() {
  if (setjmp(escape_) != 0) return Outcome::broken;
  return jpeg_start_decompress(&decoder_) ? Outcome::done : Outcome::truncated;
}

// A jump can leave this function.
Outcome JpegDecoder::read_rows(std::uint8_t* const* rows, int count) {
  if (setjmp(escape_) != 0) return Outcome::broken;
  const JDIMENSION end = decoder_.output_scanline + static_cast<JDIMENSION>(count);
  // libjpeg does not write to the list of rows; its type is older than const.
  JSAMPARRAY next = const_cast<JSAMPARRAY>(rows);
  while (decoder_.output_scanline < end) {
    const JDIMENSION read = jpeg_read_scanlines(&decoder_, next, end - decoder_.output_scanline);
    if (read == 0) return Outcome::truncated;
    next += read;
  }
  return Outcome::done;
}

// A jump can leave this function.
bool JpegDecoder::finish() {
  if (setjmp(escape_) != 0) return false;
  // Goes on to the end marker. That one may be missing, as in Pillow: every pixel is there.
  jpeg_finish_decompress(&decoder_);
  return true;
}

void require(Outcome outcome, const JpegDecoder& decoder) {
  if (outcome == Outcome::truncated)
    throw Error(Status::input, "cannot be decoded: image file is truncated");
  if (outcome == Outcome::broken) {
    throw Error(Status::input,
                std::string("cannot be decoded: broken JPEG file (") + decoder.message() + ")");
  }
}

// Pillow's cmyk2rgb, of inks that Adobe's convention stores inverted.
void inverted_cmyk_to_rgb(const std::uint8_t* cmyk, std::size_t pixels, std::uint8_t* rgb) {
  for (std::size_t pixel = 0; pixel < pixels; ++pixel, cmyk += 4, rgb += 3) {
    const int white = cmyk[3];
    for (int channel = 0; channel < 3; ++channel) {
      const int product = (255 - cmyk[channel]) * white + 128;
      rgb[channel] =
          static_cast<std::uint8_t>(std::clamp(white - (((product >> 8) + product) >> 8), 0, 255));
    }
  }
}

void grey_to_rgb(const std::uint8_t* grey, std::size_t pixels, std::uint8_t* rgb) {
  for (std::size_t pixel = 0; pixel < pixels; ++pixel, rgb += 3)
    rgb[0] = rgb[1] = rgb[2] = grey[pixel];
}

void read_pixels(JpegDecoder& decoder, const Placement& placement,
                 std::vector<std::uint8_t>& scratch) {
  constexpr int block = Placement::block_rows;
  const std::size_t width = static_cast<std::size_t>(decoder.width());
  const std::size_t row_bytes = width * static_cast<std::size_t>(decoder.channels());
  const bool is_rgb = decoder.channels() == 3;
  const bool direct = is_rgb && placement.is_upright();
  const std::size_t block_bytes = row_bytes * block;
  const std::size_t converted_bytes = is_rgb ? 0 : width * 3 * block;
  if (!direct && scratch.size() < block_bytes + converted_bytes)
    scratch.resize(block_bytes + converted_bytes);
  std::uint8_t* const converted = scratch.data() + (is_rgb ? 0 : block_bytes);
  std::uint8_t* rows[block];
  for (int first = 0; first < decoder.height(); first += block) {
    const int count = std::min(block, decoder.height() - first);
    for (int i = 0; i < count; ++i) {
      rows[i] = direct ? placement.row(first + i)
                       : scratch.data() + static_cast<std::size_t>(i) * row_bytes;
    }
    require(decoder.read_rows(rows, count), decoder);
    const std::size_t pixels = width * static_cast<std::size_t>(count);
    if (decoder.channels() == 1) grey_to_rgb(scratch.data(), pixels, converted);
    if (decoder.channels() == 4) inverted_cmyk_to_rgb(scratch.data(), pixels, converted);
    if (!direct) placement.place(first, count, converted);
  }
}

}  // namespace

void decode_jpeg(const std::uint8_t* data, std::size_t size, Image& image,
                 bool apply_exif_orientation) {
  const JpegMarkers markers = read_jpeg_markers(data, size, apply_exif_orientation);
  require_decodable_size(markers.width, markers.height);
  const J_COLOR_SPACE wanted = markers.components == 1   ? JCS_GRAYSCALE
                               : markers.components == 3 ? JCS_RGB
                                                         : JCS_CMYK;
  JpegDecoder decoder(data, size);
  require(decoder.read_header(wanted), decoder);
  if (decoder.width() != markers.width || decoder.height() != markers.height) {
    throw Error(Status::input, "cannot be decoded: broken JPEG file (two sizes in it)");
  }
  require(decoder.start(), decoder);
  const int orientation = apply_exif_orientation ? orientation_of(markers.orientation) : 1;
  const Placement placement(image, markers.width, markers.height, orientation);
  read_pixels(decoder, placement, image.scratch);
  if (!decoder.finish()) require(Outcome::broken, decoder);
}

}  // namespace levit

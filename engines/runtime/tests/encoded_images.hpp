// Encoded images made in memory, for tests of the decoders.
#pragma once

// clang-format off
#include <cstdio>  // jpeglib.h needs it and does not include it
#include <jpeglib.h>
// clang-format on
#include <zlib.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

namespace levit_test {

using Bytes = std::vector<std::uint8_t>;

// A gradient of `components` channels: 1 grey, 3 RGB, 4 CMYK.
inline Bytes jpeg(int width, int height, int components, bool progressive) {
  jpeg_compress_struct encoder = {};
  jpeg_error_mgr errors = {};
  encoder.err = jpeg_std_error(&errors);
  jpeg_create_compress(&encoder);
  unsigned char* memory = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&encoder, &memory, &size);
  encoder.image_width = static_cast<JDIMENSION>(width);
  encoder.image_height = static_cast<JDIMENSION>(height);
  encoder.input_components = components;
  encoder.in_color_space = components == 1 ? JCS_GRAYSCALE : components == 3 ? JCS_RGB : JCS_CMYK;
  jpeg_set_defaults(&encoder);
  if (progressive) jpeg_simple_progression(&encoder);
  jpeg_start_compress(&encoder, TRUE);
  Bytes row(static_cast<std::size_t>(width * components));
  for (int y = 0; y < height; ++y) {
    for (std::size_t i = 0; i < row.size(); ++i)
      row[i] = static_cast<std::uint8_t>(3 * i + 5 * static_cast<std::size_t>(y));
    JSAMPROW rows[] = {row.data()};
    jpeg_write_scanlines(&encoder, rows, 1);
  }
  jpeg_finish_compress(&encoder);
  jpeg_destroy_compress(&encoder);
  Bytes bytes(memory, memory + size);
  std::free(memory);
  return bytes;
}

inline void append_big_endian(Bytes& bytes, std::uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8)
    bytes.push_back(static_cast<std::uint8_t>(value >> shift));
}

inline Bytes chunk(const std::string& kind, const Bytes& content) {
  Bytes bytes;
  append_big_endian(bytes, static_cast<std::uint32_t>(content.size()));
  bytes.insert(bytes.end(), kind.begin(), kind.end());
  bytes.insert(bytes.end(), content.begin(), content.end());
  append_big_endian(bytes, static_cast<std::uint32_t>(
                               crc32(0, bytes.data() + 4, static_cast<uInt>(bytes.size() - 4))));
  return bytes;
}

// From raw rows, filter bytes included; `extra` are whole chunks before the image data.
inline Bytes png(int width, int height, int depth, int colour, const Bytes& rows,
                 const Bytes& extra = {}, int interlace = 0) {
  Bytes bytes = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};
  const auto append = [&](const Bytes& part) {
    bytes.insert(bytes.end(), part.begin(), part.end());
  };
  Bytes header;
  append_big_endian(header, static_cast<std::uint32_t>(width));
  append_big_endian(header, static_cast<std::uint32_t>(height));
  for (const int value : {depth, colour, 0, 0, interlace})
    header.push_back(static_cast<std::uint8_t>(value));
  append(chunk("IHDR", header));
  append(extra);
  uLongf size = compressBound(static_cast<uLong>(rows.size()));
  Bytes data(size);
  compress(data.data(), &size, rows.data(), static_cast<uLong>(rows.size()));
  data.resize(size);
  append(chunk("IDAT", data));
  append(chunk("IEND", {}));
  return bytes;
}

// A big-endian EXIF structure with nothing but an orientation.
inline Bytes exif(int orientation) {
  return {'M',  'M',  0, 42, 0, 0, 0, 8, 0, 1,
          0x01, 0x12, 0, 3,  0, 0, 0, 1, 0, static_cast<std::uint8_t>(orientation),
          0,    0,    0, 0,  0, 0};
}

}  // namespace levit_test

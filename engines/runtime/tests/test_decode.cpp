#include <doctest/doctest.h>

#include <string>

#include "decode.hpp"
#include "decode_png_text.hpp"
#include "encoded_images.hpp"
#include "refusal.hpp"

using levit_test::Bytes;
using levit_test::chunk;
using levit_test::contains;
using levit_test::exif;
using levit_test::jpeg;
using levit_test::png;
using levit_test::refusal;

namespace {

Bytes decoded(const Bytes& bytes, bool apply = false) {
  levit::Image image;
  levit::decode_image(bytes.data(), bytes.size(), image, apply);
  const std::size_t size =
      static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height) * 3;
  REQUIRE(image.rgb.size() >= size);
  return {image.rgb.begin(), image.rgb.begin() + static_cast<std::ptrdiff_t>(size)};
}

std::string refused(const Bytes& bytes, bool apply = false) {
  return refusal([&] { decoded(bytes, apply); });
}

Bytes bytes_of(const std::string& text) { return {text.begin(), text.end()}; }

Bytes cut(const Bytes& bytes, std::size_t size) {
  return {bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size)};
}

// A JPEG with one more segment right after its first marker.
Bytes with_segment(const Bytes& bytes, std::uint8_t marker, const Bytes& content) {
  Bytes result = {0xFF,
                  0xD8,
                  0xFF,
                  marker,
                  static_cast<std::uint8_t>((content.size() + 2) >> 8),
                  static_cast<std::uint8_t>(content.size() + 2)};
  result.insert(result.end(), content.begin(), content.end());
  result.insert(result.end(), bytes.begin() + 2, bytes.end());
  return result;
}

Bytes exif_segment(const Bytes& tiff) {
  Bytes content = {'E', 'x', 'i', 'f', 0, 0};
  content.insert(content.end(), tiff.begin(), tiff.end());
  return content;
}

}  // namespace

TEST_CASE("png: every kind of pixel") {
  CHECK(decoded(png(3, 1, 1, 0, {0, 0xA0})) == Bytes{255, 255, 255, 0, 0, 0, 255, 255, 255});
  CHECK(decoded(png(2, 1, 2, 0, {0, 0x60})) == Bytes{85, 85, 85, 170, 170, 170});
  CHECK(decoded(png(2, 1, 4, 0, {0, 0x1F})) == Bytes{17, 17, 17, 255, 255, 255});
  CHECK(decoded(png(2, 1, 8, 0, {0, 7, 200})) == Bytes{7, 7, 7, 200, 200, 200});
  CHECK(decoded(png(2, 1, 16, 0, {0, 1, 255, 255, 0})) == Bytes{1, 1, 1, 255, 255, 255});
  CHECK(decoded(png(1, 1, 8, 2, {0, 1, 2, 3})) == Bytes{1, 2, 3});
  CHECK(decoded(png(1, 1, 16, 2, {0, 1, 9, 2, 9, 3, 9})) == Bytes{1, 2, 3});
  CHECK(decoded(png(1, 1, 8, 4, {0, 9, 0})) == Bytes{9, 9, 9});
  CHECK(decoded(png(1, 1, 16, 4, {0, 9, 1, 0, 0})) == Bytes{9, 9, 9});
  CHECK(decoded(png(1, 1, 8, 6, {0, 1, 2, 3, 0})) == Bytes{1, 2, 3});
  CHECK(decoded(png(1, 1, 16, 6, {0, 1, 9, 2, 9, 3, 9, 0, 0})) == Bytes{1, 2, 3});
  const Bytes palette = chunk("PLTE", {1, 2, 3, 4, 5, 6});
  CHECK(decoded(png(3, 1, 8, 3, {0, 1, 0, 200}, palette)) == Bytes{4, 5, 6, 1, 2, 3, 0, 0, 0});
  CHECK(decoded(png(2, 1, 1, 3, {0, 0x40}, palette)) == Bytes{1, 2, 3, 4, 5, 6});
}

TEST_CASE("png: filters, interlacing, gamma and transparency") {
  CHECK(decoded(png(2, 2, 8, 0, {1, 10, 5, 2, 1, 1})) ==
        Bytes{10, 10, 10, 15, 15, 15, 11, 11, 11, 16, 16, 16});
  // Adam7 of 2 x 2: the first pixel, then the one to its right, then the row below.
  CHECK(decoded(png(2, 2, 8, 0, {0, 1, 0, 2, 0, 3, 4}, {}, 1)) ==
        Bytes{1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4});
  CHECK(decoded(png(1, 1, 8, 0, {0, 100}, chunk("gAMA", {0, 1, 0x86, 0xA0}))) ==
        Bytes{100, 100, 100});
  CHECK(decoded(png(1, 1, 8, 2, {0, 1, 2, 3}, chunk("tRNS", {0, 1, 0, 2, 0, 3}))) ==
        Bytes{1, 2, 3});
}

TEST_CASE("png: broken files are refused") {
  const Bytes good = png(2, 2, 8, 0, {0, 1, 2, 0, 3, 4});
  Bytes sum = good;
  sum[20] ^= 1;
  CHECK(contains(refused(sum), "wrong checksum"));
  CHECK(contains(refused(png(2, 2, 8, 0, {0, 1, 2})), "image file is truncated"));
  CHECK(contains(refused(png(2, 1, 8, 0, {9, 1, 2})), "bad adaptive filter value"));
  CHECK(contains(refused(png(8193, 8192, 8, 2, {})), "8193 x 8192 pixels exceed the limit"));
  CHECK(contains(refused(png(-1, -1, 8, 2, {})), "exceed the limit"));
  CHECK(contains(refused(png(0, 5, 8, 2, {})), "not an image"));
  CHECK(contains(refused(png(1, 1, 4, 2, {0, 1})), "no known kind of pixels"));
  CHECK(contains(refused(png(1, 1, 8, 7, {0, 1})), "no known kind of pixels"));
  CHECK(contains(refused(png(1, 1, 8, 3, {0, 1}, chunk("PLTE", Bytes(771)))), "more than 256"));
  CHECK(contains(refused(png(1, 1, 8, 0, {0, 1}, chunk("gAMA", {1}))), "short gAMA"));
  CHECK(contains(refused(png(1, 1, 8, 0, {0, 1}, chunk("zTXt", {'k', 0, 9}))),
                 "unknown compression"));
}

TEST_CASE("png: a text that unpacks to more than a mebibyte is refused") {
  Bytes zeros(std::size_t{3} << 20);
  uLongf size = compressBound(static_cast<uLong>(zeros.size()));
  Bytes packed(size);
  compress(packed.data(), &size, zeros.data(), static_cast<uLong>(zeros.size()));
  Bytes content = {'k', 0, 0};
  content.insert(content.end(), packed.begin(), packed.begin() + static_cast<std::ptrdiff_t>(size));
  CHECK(contains(refused(png(1, 1, 8, 0, {0, 1}, chunk("zTXt", content))), "mebibyte"));
}

TEST_CASE("png: a text of exactly a mebibyte is read, whatever its place in zlib's pieces") {
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{4096}, std::size_t{4097}, std::size_t{1} << 20}) {
    const Bytes text(size, 'a');
    uLongf packed_size = compressBound(static_cast<uLong>(size));
    Bytes packed(packed_size);
    compress(packed.data(), &packed_size, text.data(), static_cast<uLong>(size));
    packed.resize(packed_size);
    const std::string content(packed.begin(), packed.end());
    const auto found = levit::read_png_text("zTXt", std::string("k\0\0", 3) + content);
    REQUIRE(found);
    CHECK(found->text == std::string(size, 'a'));
    // What was read before the stream is cut counts, as in Pillow.
    const auto part = levit::read_png_text(
        "zTXt", std::string("k\0\0", 3) + content.substr(0, content.size() / 2));
    REQUIRE(part);
    CHECK(part->text.size() <= size);
  }
}

TEST_CASE("png: a second header is refused, before and after the pixels") {
  const Bytes good = png(1, 1, 8, 0, {0, 7});
  const Bytes header(good.begin() + 8, good.begin() + 8 + 25);
  CHECK(contains(refused(png(1, 1, 8, 0, {0, 7}, header)), "two IHDR chunks"));
  Bytes late = good;
  late.insert(late.end() - 12, header.begin(), header.end());
  CHECK(contains(refused(late), "two IHDR chunks"));
}

TEST_CASE("orientation: applied when asked for, from EXIF or XMP") {
  // Columns of 1 and 2 over 3 and 4 and 5 and 6.
  const Bytes rows = {0, 1, 2, 0, 3, 4, 0, 5, 6};
  const auto greys = [](const Bytes& rgb) {
    Bytes values;
    for (std::size_t i = 0; i < rgb.size(); i += 3) values.push_back(rgb[i]);
    return values;
  };
  const Bytes expected[] = {{},
                            {1, 2, 3, 4, 5, 6},
                            {2, 1, 4, 3, 6, 5},
                            {6, 5, 4, 3, 2, 1},
                            {5, 6, 3, 4, 1, 2},
                            {1, 3, 5, 2, 4, 6},
                            {5, 3, 1, 6, 4, 2},
                            {6, 4, 2, 5, 3, 1},
                            {2, 4, 6, 1, 3, 5}};
  for (int orientation = 1; orientation <= 8; ++orientation) {
    const Bytes file = png(2, 3, 8, 0, rows, chunk("eXIf", exif(orientation)));
    CHECK(greys(decoded(file, true)) == expected[orientation]);
    CHECK(greys(decoded(file, false)) == expected[1]);
  }
  CHECK(greys(decoded(png(2, 3, 8, 0, rows, chunk("eXIf", exif(9))), true)) == expected[1]);
  const std::string xmp =
      std::string("XML:com.adobe.xmp") + std::string(5, '\0') + "<x tiff:Orientation=\"6\"/>";
  CHECK(greys(decoded(png(2, 3, 8, 0, rows, chunk("iTXt", bytes_of(xmp))), true)) == expected[6]);
  const std::string raw = std::string("Raw profile type exif") + '\0' +
                          "\nexif\n 26\n4d4d002a00000008\n00010112000300000001000300000000\n0000\n";
  CHECK(greys(decoded(png(2, 3, 8, 0, rows, chunk("tEXt", bytes_of(raw))), true)) == expected[3]);
  CHECK(contains(refused(png(2, 3, 8, 0, rows, chunk("eXIf", bytes_of("no TIFF at all"))), true),
                 "EXIF"));
}

TEST_CASE("jpeg: orientation of a file that is turned in blocks of rows") {
  const Bytes plain = jpeg(37, 50, 3, false);
  const Bytes upright = decoded(plain);
  const Bytes turned = decoded(with_segment(plain, 0xE1, exif_segment(exif(6))), true);
  for (int y = 0; y < 50; ++y) {
    for (int x = 0; x < 37; ++x) {
      const std::size_t from = static_cast<std::size_t>((y * 37 + x) * 3);
      const std::size_t to = static_cast<std::size_t>((x * 50 + 49 - y) * 3);
      REQUIRE(upright[from] == turned[to]);
      REQUIRE(upright[from + 2] == turned[to + 2]);
    }
  }
}

TEST_CASE("jpeg: grey, colour and inks, baseline and progressive") {
  for (const int components : {1, 3, 4}) {
    for (const bool progressive : {false, true}) {
      CAPTURE(components);
      const Bytes rgb = decoded(jpeg(20, 9, components, progressive));
      CHECK(rgb.size() == 20 * 9 * 3);
    }
  }
  const Bytes grey = decoded(jpeg(20, 9, 1, false));
  CHECK(grey[0] == grey[1]);
  CHECK(grey[1] == grey[2]);
}

TEST_CASE("every prefix of an image is decoded or refused") {
  const Bytes rows = {0, 1, 2, 0, 3, 4, 0, 5, 6};
  const Bytes files[] = {jpeg(19, 17, 3, false), jpeg(19, 17, 4, true),
                         with_segment(jpeg(8, 8, 1, false), 0xE1, exif_segment(exif(5))),
                         png(2, 3, 8, 0, rows, chunk("eXIf", exif(6)))};
  for (const Bytes& file : files) {
    CHECK(refused(file, true).empty());
    for (std::size_t size = 0; size < file.size(); ++size) {
      const std::string message = refused(cut(file, size), true);
      CHECK_FALSE(contains(message, "\n"));
      if (size < file.size() / 2) CHECK_FALSE(message.empty());
    }
  }
}

TEST_CASE("every changed byte of an image is decoded or refused") {
  const Bytes files[] = {jpeg(9, 9, 3, true), png(3, 2, 8, 2, {1, 1, 2, 3, 4, 5, 6, 7, 8, 9,
                                                               4, 1, 2, 3, 4, 5, 6, 7, 8, 9})};
  for (const Bytes& file : files) {
    for (std::size_t place = 0; place < file.size(); ++place) {
      for (const int change : {1, 128, 255}) {
        Bytes spoiled = file;
        spoiled[place] = static_cast<std::uint8_t>(spoiled[place] ^ change);
        refused(spoiled, true);
      }
    }
  }
}

TEST_CASE("other formats are refused by name") {
  CHECK(contains(refused({}), "not an image"));
  CHECK(refusal([] {
          levit::Image image;
          levit::decode_image(nullptr, 9, image);
        }) != "");
  CHECK(contains(refused(bytes_of("plain text")), "not an image, or not one of JPEG, PNG"));
  CHECK(contains(refused(bytes_of("RIFF1234WEBPVP8 ")), "WEBP images are not read"));
  CHECK(contains(refused(bytes_of("RIFF")), "not an image"));  // found by fuzz_image
  CHECK(contains(refused(bytes_of("GIF89a..")), "GIF images are not read"));
  CHECK(contains(refused(bytes_of("BM....")), "BMP images are not read"));
  CHECK(contains(refused(bytes_of(std::string("II*\0....", 8))), "TIFF images are not read"));
  CHECK(contains(refused(bytes_of("P6 1 1 255\n")), "PPM images are not read"));
}

TEST_CASE("an image is decoded into memory that a larger one left") {
  levit::Image image;
  const Bytes large = jpeg(64, 64, 4, false);
  const Bytes small = png(1, 1, 8, 2, {0, 1, 2, 3});
  levit::decode_image(large.data(), large.size(), image);
  const std::uint8_t* const memory = image.rgb.data();
  levit::decode_image(small.data(), small.size(), image);
  CHECK(image.width == 1);
  CHECK(image.rgb[2] == 3);
  CHECK(image.rgb.data() == memory);
}

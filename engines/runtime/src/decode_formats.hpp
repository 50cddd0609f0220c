// The two formats, for decode_image; each throws Error(input).
#pragma once

#include <cstddef>
#include <cstdint>

#include "image.hpp"

namespace levit {

void decode_jpeg(const std::uint8_t* data, std::size_t size, Image& image,
                 bool apply_exif_orientation);
void decode_png(const std::uint8_t* data, std::size_t size, Image& image,
                bool apply_exif_orientation);

// Throws Error(input) when an image of that size is not decoded.
void require_decodable_size(std::int64_t width, std::int64_t height);

}  // namespace levit

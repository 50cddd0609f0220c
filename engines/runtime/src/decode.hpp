// JPEG and PNG to RGB, to the very bytes that Pillow decodes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "image.hpp"

namespace levit {

// Decodes into `image`, whose memory is used again. With `apply_exif_orientation`, which is the
// contract's field of that name, the pixels are turned as the file says. Throws Error(input) that
// says what is wrong with the bytes.
void decode_image(const std::uint8_t* data, std::size_t size, Image& image,
                  bool apply_exif_orientation = false);

}  // namespace levit

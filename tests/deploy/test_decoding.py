"""Every kind of image file becomes the RGB that it should."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from levit_deploy.decoding import decode_image
from levit_deploy.errors import ImageError


def encoded(image: Image.Image, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def decoded(data: bytes) -> list[tuple[int, ...]]:
    image = decode_image(data, apply_exif_orientation=False)
    assert image.mode == "RGB"
    return [tuple(pixel) for pixel in np.asarray(image).reshape(-1, 3).tolist()]


def pixels_of(mode: str, *values: Any) -> Image.Image:
    image = Image.new(mode, (len(values), 1))
    for column, value in enumerate(values):
        image.putpixel((column, 0), value)
    return image


def palette_image(mode: str = "P") -> Image.Image:
    image = pixels_of("P", 0, 1, 2)
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    return image.convert(mode) if mode != "P" else image


def png(width: int, height: int, bit_depth: int, colour_type: int, rows: bytes) -> bytes:
    """A PNG from its raw rows, for the kinds that Pillow does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bit_depth, colour_type, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


GREY16 = np.array([[0x0000, 0x00FF, 0x0100, 0x7FFF, 0xFFFF]], dtype=np.uint16)
GREY16_AS_RGB = [(level,) * 3 for level in (0, 0, 1, 0x7F, 0xFF)]


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "PPM", "GIF", "WEBP"])
def test_grey_is_repeated_in_every_channel(file_format: str) -> None:
    options = {"lossless": True} if file_format == "WEBP" else {}
    data = encoded(pixels_of("L", 0, 7, 200, 255), file_format, **options)
    assert decoded(data) == [(level,) * 3 for level in (0, 7, 200, 255)]


def test_one_bit_becomes_black_and_white() -> None:
    assert decoded(encoded(pixels_of("1", 0, 255, 0), "PNG")) == [(0, 0, 0), (255, 255, 255), (0, 0, 0)]


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_alpha_is_dropped_and_not_composited(file_format: str) -> None:
    grey_alpha = pixels_of("LA", (9, 0), (200, 128), (255, 255))
    assert decoded(encoded(grey_alpha, file_format)) == [(9, 9, 9), (200, 200, 200), (255, 255, 255)]
    colour_alpha = pixels_of("RGBA", (1, 2, 3, 0), (4, 5, 6, 128), (7, 8, 9, 255))
    assert decoded(encoded(colour_alpha, file_format)) == [(1, 2, 3), (4, 5, 6), (7, 8, 9)]


@pytest.mark.parametrize("transparency", [None, 1, b"\x00\x80\xff"], ids=["opaque", "one colour", "bytes"])
def test_palette_images_are_looked_up_and_their_transparency_dropped(
    transparency: int | bytes | None,
) -> None:
    options = {} if transparency is None else {"transparency": transparency}
    assert decoded(encoded(palette_image(), "PNG", **options)) == [(10, 20, 30), (40, 50, 60), (70, 80, 90)]


def test_palette_with_alpha_is_looked_up() -> None:
    assert decoded(encoded(palette_image("PA"), "TIFF")) == [(10, 20, 30), (40, 50, 60), (70, 80, 90)]


def test_transparent_colour_of_rgb_png_is_dropped() -> None:
    data = encoded(pixels_of("RGB", (1, 2, 3), (4, 5, 6)), "PNG", transparency=(1, 2, 3))
    assert decoded(data) == [(1, 2, 3), (4, 5, 6)]


def test_cmyk_is_the_product_of_the_inks_complements() -> None:
    data = encoded(pixels_of("CMYK", (0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 255, 0), (0, 0, 0, 255)), "TIFF")
    assert decoded(data) == [(255, 255, 255), (0, 255, 255), (255, 0, 0), (0, 0, 0)]


def test_cmyk_jpeg_is_not_inverted() -> None:
    # Pillow writes the Adobe marker, so the file stores inverted inks, as Photoshop's do.
    data = encoded(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "JPEG", quality=100)
    assert b"Adobe" in data
    assert np.abs(np.array(decoded(data)) - (0, 255, 255)).max() <= 2


@pytest.mark.parametrize("colour", [(255, 0, 0), (12, 200, 99)])
def test_ycbcr_becomes_rgb(colour: tuple[int, int, int]) -> None:
    data = encoded(Image.new("RGB", (1, 1), colour).convert("YCbCr"), "TIFF", compression="tiff_lzw")
    assert np.abs(np.array(decoded(data)) - colour).max() <= 2


@pytest.mark.parametrize(
    ("lab", "colour"),
    [
        ((138, 128 + 81, 128 + 70), (255, 0, 0)),  # 255 L / 100, 128 + a, 128 + b, with D50 white
        ((137, 128, 128), (128, 128, 128)),
    ],
    ids=["red", "grey"],
)
def test_lab_becomes_srgb(lab: tuple[int, int, int], colour: tuple[int, int, int]) -> None:
    assert (
        np.abs(np.array(decoded(encoded(Image.new("LAB", (1, 1), lab), "TIFF"))) - colour).max() <= 8
    )  # 8-bit Lab is coarse


def test_16_bit_grey_keeps_the_high_byte_where_pillow_clips() -> None:
    image = Image.fromarray(GREY16)
    rows = b"\0" + GREY16.astype(">u2").tobytes()
    pgm = b"P5 5 1 65535\n" + GREY16.astype(">u2").tobytes()
    for data in (encoded(image, "PNG"), png(5, 1, 16, 0, rows), encoded(image, "TIFF"), pgm):
        assert decoded(data) == GREY16_AS_RGB
    big_endian = Image.frombytes("I;16B", (5, 1), GREY16.astype(">u2").tobytes())
    assert decoded(encoded(big_endian, "TIFF")) == GREY16_AS_RGB
    with Image.open(io.BytesIO(encoded(image, "PNG"))) as clipped:
        assert np.asarray(clipped.convert("RGB"))[0, 2, 0] == 255, "Pillow no longer clips: drop our conversion"


def test_16_bit_colour_and_alpha_keep_the_high_byte() -> None:
    colour = np.array([[0x12FF, 0x34FF, 0x56FF]], dtype=">u2").tobytes()
    assert decoded(png(1, 1, 16, 2, b"\0" + colour)) == [(0x12, 0x34, 0x56)]
    assert decoded(png(1, 1, 16, 6, b"\0" + colour + b"\0\0")) == [(0x12, 0x34, 0x56)]
    assert decoded(png(1, 1, 16, 4, b"\0" + b"\x12\xff\0\0")) == [(0x12, 0x12, 0x12)]


@pytest.mark.parametrize("mode", ["F", "I"])
def test_float_and_32_bit_pixels_are_refused(mode: str) -> None:
    with pytest.raises(ImageError, match="convert it to 8 or 16 bit"):
        decoded(encoded(Image.new(mode, (2, 2), 1000), "TIFF"))


@pytest.mark.parametrize(("tag", "value"), [(258, 12), (262, 0), (339, 2)], ids=["12-bit", "white-0", "signed"])
def test_grey_tiffs_of_other_meanings_are_refused(tag: int, value: int) -> None:
    data = bytearray(encoded(Image.fromarray(np.zeros((4, 4), np.uint16)), "TIFF", tiffinfo={339: 1}))
    entry = data.index(struct.pack("<HHI", tag, 3, 1))
    data[entry + 8 : entry + 10] = struct.pack("<H", value)
    with pytest.raises(ImageError, match=r"black as zero|cannot be decoded"):
        decoded(bytes(data))


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_multi_frame_files_give_the_first_frame(file_format: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    options: dict[str, Any] = {"lossless": True} if file_format == "WEBP" else {}
    data = encoded(frames[0], file_format, save_all=True, append_images=frames[1:], **options)
    assert set(decoded(data)) == {(255, 0, 0)}


UPRIGHT = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 10
STORED = {  # what a file of each orientation stores so that a viewer shows UPRIGHT (EXIF 2.3, tag 274)
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.swapaxes(0, 1),
    6: np.rot90(UPRIGHT, 1),
    7: UPRIGHT[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90(UPRIGHT, -1),
}


@pytest.mark.parametrize("orientation", list(STORED))
@pytest.mark.parametrize("file_format", ["PNG", "WEBP"])
def test_exif_orientation_is_ignored_unless_asked_for(orientation: int, file_format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if file_format == "WEBP" else {}
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
    data = encoded(stored, file_format, exif=exif, **options)
    ignored = decode_image(data, apply_exif_orientation=False)
    np.testing.assert_array_equal(np.asarray(ignored), STORED[orientation])
    np.testing.assert_array_equal(np.asarray(decode_image(data, apply_exif_orientation=True)), UPRIGHT)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_senseless_exif_orientation_changes_nothing(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(UPRIGHT), "PNG", exif=exif)
    np.testing.assert_array_equal(np.asarray(decode_image(data, apply_exif_orientation=True)), UPRIGHT)


@pytest.mark.parametrize("apply", [False, True])
def test_tiff_orientation_is_applied_once_by_pillow_itself(apply: bool) -> None:
    stored = Image.fromarray(np.ascontiguousarray(STORED[6]))
    data = encoded(stored, "TIFF", tiffinfo={0x0112: 6})
    np.testing.assert_array_equal(np.asarray(decode_image(data, apply_exif_orientation=apply)), UPRIGHT)

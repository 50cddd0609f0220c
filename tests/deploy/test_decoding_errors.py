"""Whatever is wrong with an image file becomes one line of ImageError that names it."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from levit_deploy import decoding
from levit_deploy.decoding import decode_image
from levit_deploy.errors import ImageError

PHOTOGRAPH = Path(__file__).parents[2] / "levit_deploy/data/photographs/chelsea.jpg"


def encoded(image: Image.Image, file_format: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """The start of an RGB PNG, with an empty data chunk."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in (header, b"IDAT")
    )


def broken_files() -> dict[str, bytes]:
    jpeg = PHOTOGRAPH.read_bytes()
    whole_png = encoded(Image.open(PHOTOGRAPH).convert("RGB"), "PNG")
    return {
        "empty.jpg": b"",
        "text.png": b"Not an image.\n" * 40,
        "cut.jpg": jpeg[: len(jpeg) // 2],
        "header.jpg": jpeg[:4],
        "cut.png": whole_png[: len(whole_png) // 2],
        "bad_crc.png": whole_png[:20] + b"\xff" + whole_png[21:],
        "zero_wide.png": png_header(0, 5),
        "bomb.png": png_header(100_000, 100_000),
        "large.png": png_header(8193, 8192),
        "page.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n",
    }


@pytest.mark.parametrize("name", broken_files())
def test_broken_files_are_one_line_that_names_them(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(broken_files()[name])
    for source, label in ((path, str(path)), (path.read_bytes(), "in memory")):
        with pytest.raises(ImageError) as caught:
            decode_image(source, apply_exif_orientation=True)
        message = str(caught.value)
        assert label in message
        assert "\n" not in message
        assert caught.value.exit_code == 3


@pytest.mark.parametrize("file_format", ["EPS", "PCX", "ICO"])
def test_formats_outside_the_list_are_not_even_opened(file_format: str) -> None:
    with pytest.raises(ImageError, match="not one of JPEG, PNG"):
        decode_image(encoded(Image.new("RGB", (16, 16)), file_format), apply_exif_orientation=False)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "absent.jpg", "No such file"), (tmp_path, "directory")):
        with pytest.raises(ImageError, match=reason) as caught:
            decode_image(path, apply_exif_orientation=False)
        assert str(path) in str(caught.value)


def test_file_names_cannot_break_the_line(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        decode_image(tmp_path / "two\nlines\x1b[31m.jpg", apply_exif_orientation=False)
    assert str(caught.value).isprintable()


def test_size_is_checked_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_PIXELS", 99)
    with pytest.raises(ImageError, match="10 x 10 pixels exceed the limit of 99"):
        decode_image(png_header(10, 10) + b"never reached", apply_exif_orientation=False)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_bytes_give_an_image_or_an_image_error(data: st.DataObject) -> None:
    file_format = data.draw(st.sampled_from(["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM"]))
    pixels = np.arange(768, dtype=np.int64).astype(np.uint8).reshape(16, 16, 3)
    original = bytearray(encoded(Image.fromarray(pixels), file_format))
    for _ in range(data.draw(st.integers(1, 6))):
        original[data.draw(st.integers(0, len(original) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ImageError):
        assert decode_image(bytes(original), apply_exif_orientation=True).mode == "RGB"

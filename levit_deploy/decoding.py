"""Encoded images, which are untrusted input, as 8-bit RGB; whatever is wrong with one is an ImageError."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from levit_deploy.errors import ImageError

MAX_PIXELS = 64 * 1024 * 1024
"""Largest image decoded or resized to: admits the photos of 64-megapixel phones, keeps memory near 1 GB."""

DECODED_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""Formats that Pillow decodes by itself; others, such as EPS, run external programs on untrusted files."""

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
"""What the names of images in a folder end with, in lower case."""

_EXIF_ORIENTATION_TAG = 0x0112
_EXIF_TRANSPOSITIONS: Mapping[object, Image.Transpose] = MappingProxyType(
    {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
)
_TIFF_BITS_PER_SAMPLE, _TIFF_PHOTOMETRIC, _TIFF_BLACK_IS_ZERO = 258, 262, 1


def decode_image(source: Path | bytes, *, apply_exif_orientation: bool) -> Image.Image:
    """The first frame of an encoded image, from a file or from memory, in mode RGB with 8 bits.

    Transparency is dropped and colour profiles are ignored, as all four origins do; 16-bit grey keeps its
    high byte, as 16-bit colour does. A TIFF is always turned as it says, because Pillow itself does that.

    Raises:
        ImageError: naming the file: it is missing, broken, too large, or of a kind that is not covered.
    """
    name = printable(str(source)) if isinstance(source, Path) else f"image of {len(source)} bytes in memory"
    stream = source if isinstance(source, Path) else io.BytesIO(source)
    try:
        with Image.open(stream, formats=DECODED_FORMATS) as image:
            _require_size(image.width, image.height)
            image.load()
            # Only after load(): Pillow turns TIFFs there and then takes the tag away.
            orientation = image.getexif().get(_EXIF_ORIENTATION_TAG) if apply_exif_orientation else None
            transposition = _EXIF_TRANSPOSITIONS.get(orientation)
            rgb = _to_rgb(image)
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: not an image, or not one of {', '.join(DECODED_FORMATS)}") from error
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error
    # Pillow's decoders raise whatever a broken field leads them into, not only OSError.
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ImageError(f"{name}: cannot be decoded: {printable(reason)}") from error
    return rgb if transposition is None else rgb.transpose(transposition)


def printable(text: str) -> str:
    """`text` on one line: a file name may hold line breaks and terminal codes."""
    return text if text.isprintable() else ascii(text)


def _require_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ImageError(f"{width} x {height} pixels exceed the limit of {MAX_PIXELS}: shrink the image")


def _to_rgb(image: Image.Image) -> Image.Image:
    """A loaded image in mode RGB."""
    if image.mode == "F":
        raise ImageError("floating-point pixels have no agreed range: convert it to 8 or 16 bit")
    if image.mode.startswith("I"):
        return Image.fromarray(_high_bytes(image)).convert("RGB")
    # Pillow would warn that the transparency is lost; that is the contract.
    image.info.pop("transparency", None)
    return image.convert("RGB")


def _high_bytes(image: Image.Image) -> NDArray[np.uint8]:
    """(H, W) high bytes of 16-bit grey; Pillow's own conversion clips at 255 instead."""
    tags = getattr(image, "tag_v2", None)
    if tags is None:
        covered = image.format in ("PNG", "PPM")  # whatever the mode, these never hold more than 16 bits
    else:
        black_is_zero = tags.get(_TIFF_PHOTOMETRIC) == _TIFF_BLACK_IS_ZERO
        unsigned_16_bit = image.mode.startswith("I;16") and tags.get(_TIFF_BITS_PER_SAMPLE) == (16,)
        covered = black_is_zero and unsigned_16_bit
    if not covered:
        raise ImageError("integer grey other than unsigned 16-bit, black as zero: convert it to 8 or 16 bit")
    return (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)

"""Golden input: the twelve images on which a bundle proves that its numbers survived.

S side of the square images in pixels. Four photographs travel with the package; eight structured images reach
what photographs do not: smooth ramps, the highest frequencies, isolated points, noise, nothing but black or white,
a single pixel, bytes at both ends of their range. They are made with integer arithmetic and the raw PCG64 stream,
which NumPy keeps stable, so every machine makes the same bytes.
"""

from __future__ import annotations

from importlib import resources

import numpy as np
from numpy.typing import NDArray

from levit_deploy.decoding import decode_image
from levit_deploy.errors import EnvironmentIncompleteError
from levit_deploy.preprocessing import Preprocessing, resize_and_crop

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
STRUCTURED = ("gradients", "checkerboard", "points", "noise", "black", "white", "pixel", "saturated")

POINT_SPACING_PX = 27  # odd, so the points fall on every phase of the stem's and the downsamplers' strides
NOISE_SEED = 2104_01136  # the number of the LeViT paper
SATURATED_SEED = NOISE_SEED + 1


def golden_images(contract: Preprocessing) -> tuple[tuple[str, ...], NDArray[np.uint8]]:
    """Names and (12, S, S, 3) RGB pixels: the photographs through `contract`, then the structured images.

    Raises:
        EnvironmentIncompleteError: the installation lacks the photographs.
    """
    side = contract.image_size
    photographs = [decode_image(_photograph(name), apply_exif_orientation=False) for name in PHOTOGRAPHS]
    images = [resize_and_crop(photograph, contract) for photograph in photographs]
    images += [_gradients(side), _checkerboard(side), _points(side), _noise(side)]
    images += [_constant(side, 0), _constant(side, 255), _pixel(side), _saturated(side)]
    return PHOTOGRAPHS + STRUCTURED, np.stack(images)


def _photograph(name: str) -> bytes:
    file = resources.files("levit_deploy").joinpath(f"data/photographs/{name}.jpg")
    try:
        return file.read_bytes()
    except OSError as error:
        raise EnvironmentIncompleteError(f"{file} is missing: install levit-deploy again") from error


def _rows_and_columns(side: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and column numbers, (S, 1) and (1, S)."""
    numbers = np.arange(side, dtype=np.int64)
    return numbers[:, None], numbers[None, :]


def _rgb(*channels: NDArray[np.int64]) -> NDArray[np.uint8]:
    """(S, S, 3) pixels from channels in 0..255 that broadcast to (S, S)."""
    return np.stack(np.broadcast_arrays(*channels), axis=-1).astype(np.uint8)


def _gradients(side: int) -> NDArray[np.uint8]:
    """Red rises to the right, green downwards, blue along the other diagonal."""
    row, column = _rows_and_columns(side)
    last = max(side - 1, 1)
    return _rgb(255 * column // last, 255 * row // last, 255 * (last - column + row) // (2 * last))


def _checkerboard(side: int) -> NDArray[np.uint8]:
    """Squares of 1, 2 and 3 pixels in red, green and blue, between 0 and 255."""
    row, column = _rows_and_columns(side)
    return _rgb(*(255 * ((row // square + column // square) % 2) for square in (1, 2, 3)))


def _points(side: int) -> NDArray[np.uint8]:
    """Single pixels of the six saturated colours, white and grey on black, POINT_SPACING_PX apart."""
    image = np.zeros((side, side, 3), dtype=np.uint8)
    levels = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 255, 255), (255, 0, 255), (255, 255, 0))
    colours = np.array((*levels, (255, 255, 255), (128, 128, 128)), dtype=np.uint8)
    positions = np.arange(POINT_SPACING_PX // 2, side, POINT_SPACING_PX)
    row, column = _rows_and_columns(positions.size)
    image[positions[:, None], positions[None, :]] = colours[(3 * row + column) % len(colours)]
    return image


def _noise(side: int) -> NDArray[np.uint8]:
    """Independent uniform bytes."""
    return _random_bytes(side, NOISE_SEED)


def _constant(side: int, level: int) -> NDArray[np.uint8]:
    """`level` in every channel of every pixel."""
    return np.full((side, side, 3), level, dtype=np.uint8)


def _pixel(side: int) -> NDArray[np.uint8]:
    """One white pixel on black: the first below and right of the centre."""
    image = _constant(side, 0)
    image[side // 2, side // 2] = 255
    return image


def _saturated(side: int) -> NDArray[np.uint8]:
    """Every byte independently 0 or 255."""
    image = _constant(side, 0)
    image[_random_bytes(side, SATURATED_SEED) >= 128] = 255
    return image


def _random_bytes(side: int, seed: int) -> NDArray[np.uint8]:
    """Independent uniform bytes, (S, S, 3)."""
    count = 3 * side * side
    # Raw words, written little-endian: unlike Generator's methods, they never change between NumPy versions.
    words = np.asarray(np.random.PCG64(seed).random_raw(-(-count // 8)), dtype="<u8")
    return words.view(np.uint8)[:count].reshape(side, side, 3)

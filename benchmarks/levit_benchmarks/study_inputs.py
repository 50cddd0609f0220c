"""Inputs for a study: random crops of the photographs that this machine has, and images that no camera makes.

S side of the square images in pixels. Every image is (S, S, 3) uint8 RGB, as a deployed network gets it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from levit_deploy.decoding import decode_image
from levit_deploy.initialization import sample_images
from levit_deploy.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, resize_and_crop

REAL = "photographs"
SMALLEST_CROP = 0.25  # of the shorter side
BRIGHTNESS = (0.4, 1.6)
MOST_POINTS = 32
LONGEST_PERIOD_PX = 16

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """Where a package keeps photographs; those that scikit-image has too are taken from ours alone."""

    package: str
    path: str
    files: tuple[str, ...]


FOLDERS = (
    Folder(
        package="levit_deploy",
        path="data/photographs",
        files=("astronaut.jpg", "chelsea.jpg", "coffee.jpg", "rocket.jpg"),
    ),
    Folder(package="sklearn", path="datasets/images", files=("china.jpg", "flower.jpg")),
    Folder(
        package="skimage",
        path="data",
        files=(
            *("brick.png", "camera.png", "coins.png", "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png"),
            *("moon.png", "motorcycle_left.png", "page.png", "retina.jpg", "text.png"),
        ),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Photograph:
    """A decoded photograph; `name` is its package and file."""

    name: str
    image: Image.Image


def find_photographs() -> tuple[Photograph, ...]:
    """Ours, and those of scikit-learn and scikit-image where they are installed; nothing is downloaded."""
    found = ((f"{folder.package}/{path.name}", path) for folder in FOLDERS for path in _files(folder))
    return tuple(Photograph(name=name, image=decode_image(path, apply_exif_orientation=False)) for name, path in found)


def _files(folder: Folder) -> Iterator[Path]:
    specification = importlib.util.find_spec(folder.package)  # finds the package without importing it
    for root in (specification.submodule_search_locations or ()) if specification else ():
        paths = (Path(root, folder.path, file) for file in folder.files)
        yield from (path for path in paths if path.is_file())


def random_crop(photograph: Photograph, contract: Preprocessing, generator: np.random.Generator) -> Pixels:
    """A square of random size, position, orientation and brightness, through the resize of `contract`."""
    image = photograph.image
    shorter = min(image.size)
    side = int(generator.integers(int(SMALLEST_CROP * shorter), shorter, endpoint=True))
    left, top = (int(generator.integers(0, length - side, endpoint=True)) for length in image.size)
    square = image.crop((left, top, left + side, top + side))
    if generator.random() < 0.5:
        square = square.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return resize_and_crop(ImageEnhance.Brightness(square).enhance(generator.uniform(*BRIGHTNESS)), contract)


def _soft_shapes(side: int, generator: np.random.Generator) -> Pixels:
    seeded = torch.Generator().manual_seed(int(generator.integers(2**62)))
    normalized = sample_images(1, side, seeded)[0].permute(1, 2, 0).numpy()  # (S, S, 3)
    levels = 255 * (normalized * np.array(IMAGENET_STD) + np.array(IMAGENET_MEAN))
    pixels: Pixels = levels.clip(0, 255).round().astype(np.uint8)
    return pixels


def _byte_noise(side: int, generator: np.random.Generator) -> Pixels:
    noise: Pixels = generator.integers(0, 256, (side, side, 3), dtype=np.uint8)
    return noise


def _saturated_noise(side: int, generator: np.random.Generator) -> Pixels:
    noise: Pixels = 255 * generator.integers(0, 2, (side, side, 3), dtype=np.uint8)
    return noise


def _points(side: int, generator: np.random.Generator) -> Pixels:
    """A few single pixels of random colours on black, white or grey."""
    image = np.full((side, side, 3), generator.choice((0, 128, 255)), dtype=np.uint8)
    count = int(generator.integers(1, MOST_POINTS, endpoint=True))
    rows, columns = generator.integers(0, side, (2, count))
    image[rows, columns] = generator.integers(0, 256, (count, 3), dtype=np.uint8)
    return image


def _pattern(side: int, generator: np.random.Generator) -> Pixels:
    """Stripes either way or a checkerboard, of a random period and two random colours."""
    rows, columns = generator.integers(1, LONGEST_PERIOD_PX, 2, endpoint=True)
    down, across = ((0, 1), (1, 0), (1, 1))[generator.integers(3)]
    numbers = np.arange(side)
    second = (down * (numbers[:, None] // rows) + across * (numbers[None, :] // columns)) % 2  # (S, S)
    colours = generator.integers(0, 256, (2, 3), dtype=np.uint8)
    image: Pixels = colours[second]
    return image


def _constant(side: int, generator: np.random.Generator) -> Pixels:
    return np.broadcast_to(generator.integers(0, 256, 3, dtype=np.uint8), (side, side, 3))


RANDOM_KINDS: Mapping[str, Callable[[int, np.random.Generator], Pixels]] = MappingProxyType(
    {
        "soft shapes": _soft_shapes,
        "byte noise": _byte_noise,
        "0/255 noise": _saturated_noise,
        "single points": _points,
        "stripes and checkerboards": _pattern,
        "constant colours": _constant,
    }
)


def kind_of(number: int) -> str:
    """The kind of input `number` of a study: every other one is real, the rest take turns."""
    return REAL if number % 2 == 0 else tuple(RANDOM_KINDS)[number // 2 % len(RANDOM_KINDS)]


def make_input(
    kind: str, photographs: tuple[Photograph, ...], contract: Preprocessing, generator: np.random.Generator
) -> Pixels:
    """One random input of `kind`."""
    if kind == REAL:
        return random_crop(photographs[generator.integers(len(photographs))], contract, generator)
    return RANDOM_KINDS[kind](contract.image_size, generator)

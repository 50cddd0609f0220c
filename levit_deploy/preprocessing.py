"""The preprocessing contract of a bundle, and its Pillow implementation: the reference of every runtime.

S side of the square crop in pixels, R length of the shorter side after the resize.

An image becomes RGB, is resized so that its shorter side is R (Pillow's 8-bit bicubic, antialiased), loses
all but its central S by S pixels, and is normalised per channel.

The resize is one horizontal pass and then one vertical pass, each rounded to 8 bits, because that is the
order in which the published accuracies were measured. Pillow up to 12 always worked so; Pillow 13 goes
vertically first for images taller than about 2:1, which changes pixels by several levels. We ask Pillow for
one axis at a time, so the result does not depend on the Pillow that is installed. The columns that the crop
drops are dropped between the passes: the second pass never mixes columns.

Source: torchvision.transforms.Resize, CenterCrop; the official LeViT datasets.py; timm's transforms_factory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from levit_deploy.decoding import MAX_PIXELS, decode_image, printable
from levit_deploy.errors import BundleError, ConfigError, ImageError

__all__ = [
    "CropRounding",
    "Preprocessing",
    "decode_image",
    "normalize",
    "preprocess_file",
    "preprocessing_for",
    "resize_and_crop",
]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

MAX_RESIZE_SIDE = 8192
"""Largest R: its square is MAX_PIXELS."""

_IMPLEMENTED: Mapping[str, str] = MappingProxyType(
    {
        "colour": "RGB",
        "interpolation": "bicubic, antialiased",
        "resize_pass_order": "horizontal, vertical",
        "resize_longer_side": "truncated",
        "crop": "centre",
        "scale": "1/255",
        "layout": "NCHW",
    }
)


class CropRounding(Enum):
    """Where the centre crop starts when an odd number of pixels is cut off.

    HALF_EVEN rounds half the excess to the even neighbour (torchvision, official, timm, mmpretrain);
    FLOOR rounds it down (transformers).
    """

    HALF_EVEN = "half_even"
    FLOOR = "floor"

    def offset(self, size: int, crop: int) -> int:
        """First kept pixel of `crop` central ones out of `size` (size >= crop)."""
        return round((size - crop) / 2) if self is CropRounding.HALF_EVEN else (size - crop) // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """The contract in a bundle: how an encoded image becomes the network's input.

    `image_size` is S and `resize_shorter_side` is R, in pixels. `mean` and `std` are those of RGB in [0, 1].
    Raises ConfigError when R < S (the crop would need padding) or a value is out of range.
    """

    image_size: int
    resize_shorter_side: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    crop_rounding: CropRounding = CropRounding.HALF_EVEN
    apply_exif_orientation: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.image_size <= self.resize_shorter_side <= MAX_RESIZE_SIDE:
            raise ConfigError(
                f"image size {self.image_size}, resized shorter side {self.resize_shorter_side}: the crop is "
                f"never padded, so 1 <= image size <= shorter side <= {MAX_RESIZE_SIDE} must hold"
            )
        # A mean of 123.675 or a std of 58.395 belongs to pixels in 0..255, a common slip; NaN fails as well.
        if len(self.mean) != 3 or not all(0.0 <= value <= 1.0 for value in self.mean):
            raise ConfigError(f"mean {self.mean} must be three values in [0, 1], of RGB scaled to [0, 1]")
        if len(self.std) != 3 or not all(1 / 255 <= value <= 1.0 for value in self.std):
            raise ConfigError(f"std {self.std} must be three values in [1/255, 1], of RGB scaled to [0, 1]")

    def resized_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height in pixels after the resize of a `width` by `height` image, before the crop."""
        shorter, longer = sorted((width, height))
        longer = int(self.resize_shorter_side * longer / shorter)
        return (self.resize_shorter_side, longer) if width <= height else (longer, self.resize_shorter_side)

    def to_json(self) -> dict[str, Any]:
        """The contract as plain JSON values, with what every version does alike spelled out as well."""
        return {
            **_IMPLEMENTED,
            "exif_orientation": "applied" if self.apply_exif_orientation else "ignored",
            "resize_shorter_side": self.resize_shorter_side,
            "image_size": self.image_size,
            "crop_rounding": self.crop_rounding.value,
            "mean": list(self.mean),
            "std": list(self.std),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Preprocessing:
        """The contract that `to_json` wrote.

        Raises:
            BundleError: a field is missing, unknown, ill-typed, or asks for what this version lacks.
        """
        choices: dict[str, tuple[str, ...]] = {key: (value,) for key, value in _IMPLEMENTED.items()}
        choices["exif_orientation"] = ("ignored", "applied")
        choices["crop_rounding"] = tuple(rounding.value for rounding in CropRounding)
        expected = {*choices, "image_size", "resize_shorter_side", "mean", "std"}
        if not isinstance(document, Mapping):
            raise BundleError(f"preprocessing: a {type(document).__name__}, not an object")
        missing, unknown = sorted(expected - set(document)), sorted(map(str, set(document) - expected))
        if missing or unknown:
            raise BundleError(f"preprocessing: missing fields {missing}, unknown fields {unknown}")
        for key, implemented in choices.items():
            if document[key] not in implemented:
                wanted = " or ".join(map(repr, implemented))
                raise BundleError(f"preprocessing: {key} is {document[key]!r:.200}; implemented is {wanted}")
        try:
            return cls(
                image_size=_integer(document, "image_size"),
                resize_shorter_side=_integer(document, "resize_shorter_side"),
                mean=_three_numbers(document, "mean"),
                std=_three_numbers(document, "std"),
                crop_rounding=CropRounding(document["crop_rounding"]),
                apply_exif_orientation=document["exif_orientation"] == "applied",
            )
        except ConfigError as error:
            raise BundleError(f"preprocessing: {error}") from error


def _integer(document: Mapping[str, Any], key: str) -> int:
    value = document[key]
    if type(value) is not int:  # not isinstance: true and false are no sizes
        raise BundleError(f"preprocessing: {key} is {value!r:.200}, which is not an integer")
    return value


def _three_numbers(document: Mapping[str, Any], key: str) -> tuple[float, float, float]:
    values = document[key]
    # The range is checked before float(), which raises on an integer of 400 digits.
    in_range = isinstance(values, list) and all(type(v) in (int, float) and 0 <= v <= 1 for v in values)
    if not in_range or len(values) != 3:
        raise BundleError(f"preprocessing: {key} is {values!r:.200}, which is not three numbers in [0, 1]")
    red, green, blue = values
    return float(red), float(green), float(blue)


def preprocessing_for(origin: str, image_size: int, *, apply_exif_orientation: bool = False) -> Preprocessing:
    """The contract under which the weights of `origin` are evaluated at `image_size` pixels.

    `origin` is "official", "timm", "transformers", "mmpretrain" or "untrained" (as official).
    Raises ConfigError for another.
    """
    origins = ("official", "timm", "transformers", "mmpretrain", "untrained")
    if origin not in origins:
        raise ConfigError(f"unknown origin {origin!r}: choose from {', '.join(origins)}")
    # The expressions are the origins' own, so that they round alike in floating point.
    shorter_side = math.floor(image_size / 0.9) if origin == "timm" else int(256 / 224 * image_size)
    return Preprocessing(
        image_size=image_size,
        resize_shorter_side=shorter_side,
        crop_rounding=CropRounding.FLOOR if origin == "transformers" else CropRounding.HALF_EVEN,
        apply_exif_orientation=apply_exif_orientation,
    )


def resize_and_crop(image: Image.Image, contract: Preprocessing) -> NDArray[np.uint8]:
    """The (S, S, 3) RGB pixels that the network sees of `image`, which is in mode RGB.

    Raises:
        ImageError: the image is in another mode, or so elongated that resizing it would take too much memory.
    """
    if image.mode != "RGB":
        raise ImageError(f"image in mode {image.mode} where RGB is needed: use decode_image")
    side, bicubic = contract.image_size, Image.Resampling.BICUBIC
    width, height = contract.resized_size(*image.size)
    if max(width * image.height, width * height) > MAX_PIXELS:
        raise ImageError(f"{image.width} x {image.height} pixels are too elongated to resize")
    left = contract.crop_rounding.offset(width, side)
    top = contract.crop_rounding.offset(height, side)
    columns = image.resize((width, image.height), bicubic).crop((left, 0, left + side, image.height))
    window = columns.resize((side, height), bicubic).crop((0, top, side, top + side))
    return np.array(window)


def normalize(pixels: NDArray[np.uint8], contract: Preprocessing) -> NDArray[np.float32]:
    """(..., S, S, 3) uint8 pixels as the (..., 3, S, S) contiguous float32 input of the network.

    Bit-equal to torchvision's ToTensor and Normalize. Raises ImageError on another type or shape.
    """
    side = contract.image_size
    if pixels.dtype != np.uint8 or pixels.shape[-3:] != (side, side, 3):
        raise ImageError(f"pixels are {pixels.dtype} {pixels.shape}, not uint8 (..., {side}, {side}, 3)")
    unit = np.arange(256, dtype=np.float32) / np.float32(255)
    output = np.empty((*pixels.shape[:-3], 3, side, side), dtype=np.float32)
    for channel, (mean, std) in enumerate(zip(contract.mean, contract.std, strict=True)):
        table = (unit - np.float32(mean)) / np.float32(std)  # (256,)
        output[..., channel, :, :] = table[pixels[..., channel]]
    return output


def preprocess_file(path: Path, contract: Preprocessing) -> NDArray[np.uint8]:
    """The (S, S, 3) RGB pixels that the network sees of the file at `path`. Raises ImageError naming it."""
    image = decode_image(path, apply_exif_orientation=contract.apply_exif_orientation)
    try:
        return resize_and_crop(image, contract)
    except ImageError as error:
        raise ImageError(f"{printable(str(path))}: {error}") from error

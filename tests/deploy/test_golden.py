"""The golden images: the same bytes on every machine, and varied enough to prove something."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from levit_deploy import golden
from levit_deploy.errors import EnvironmentIncompleteError
from levit_deploy.golden import golden_images
from levit_deploy.preprocessing import normalize, preprocess_file, preprocessing_for

PHOTOGRAPHS = Path(__file__).parents[2] / "levit_deploy/data/photographs"
PHOTOGRAPH_NAMES = ("astronaut", "chelsea", "coffee", "rocket")
STRUCTURED_NAMES = ("gradients", "checkerboard", "points", "noise", "black", "white", "pixel", "saturated")


@pytest.mark.parametrize("image_size", [16, 32, 224, 304])
def test_golden_images_have_the_size_of_the_contract(image_size: int) -> None:
    names, pixels = golden_images(preprocessing_for("official", image_size))
    assert names == PHOTOGRAPH_NAMES + STRUCTURED_NAMES
    assert pixels.shape == (12, image_size, image_size, 3)
    assert pixels.dtype == np.uint8
    assert len({image.tobytes() for image in pixels}) == 12


# Equal with Pillow 12.3.0 and 13.0.0; made by tools/make_golden_photographs.py and golden.py on x86-64.
@pytest.mark.parametrize(
    ("origin", "image_size", "digest"),
    [
        ("official", 224, "2377d68d82ca18d03b8971e513f938997c3d22736caead6aa41d035827231bbf"),
        ("timm", 224, "a9515d7741664b3307ecce9e8d927c8f01edc0af358bfadbef7490f304df5e6e"),
        ("official", 288, "973e9c5c6d49c2ebcfa0f2c8b6c155fc2de1ba583b499e82c9c869a25a024c02"),
    ],
)
def test_golden_images_never_change(origin: str, image_size: int, digest: str) -> None:
    _, pixels = golden_images(preprocessing_for(origin, image_size))
    assert hashlib.sha256(pixels.tobytes()).hexdigest() == digest


def test_photographs_go_through_the_contract() -> None:
    contract = preprocessing_for("timm", 224)
    _, pixels = golden_images(contract)
    for name, image in zip(PHOTOGRAPH_NAMES, pixels, strict=False):
        np.testing.assert_array_equal(image, preprocess_file(PHOTOGRAPHS / f"{name}.jpg", contract))


def test_photographs_are_what_their_readme_lists() -> None:
    listed = [line.split() for line in (PHOTOGRAPHS / "README.md").read_text("utf-8").splitlines() if ".jpg" in line]
    digests = {words[1]: words[0] for words in listed if len(words) == 2}
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in PHOTOGRAPHS.glob("*.jpg")}
    assert digests == found
    assert sorted(found) == sorted(f"{name}.jpg" for name in PHOTOGRAPH_NAMES)


def structured(name: str, image_size: int = 224) -> NDArray[np.uint8]:
    names, pixels = golden_images(preprocessing_for("official", image_size))
    return pixels[names.index(name)]


def test_gradients_rise_by_at_most_two_a_pixel() -> None:
    gradients = structured("gradients")
    assert gradients[0, 0].tolist() == [0, 0, 127]
    assert gradients[223, 223].tolist() == [255, 255, 127]
    assert gradients[223, 0].tolist() == [0, 255, 255]
    assert np.abs(np.diff(gradients.astype(int), axis=0)).max() <= 2


def test_checkerboard_has_squares_of_one_two_and_three_pixels() -> None:
    checkerboard = structured("checkerboard")
    assert checkerboard[:4, :2, 0].tolist() == [[0, 255], [255, 0]] * 2
    assert checkerboard[0, :6].T.tolist() == [[0, 255] * 3, [0, 0, 255, 255, 0, 0], [0, 0, 0, 255, 255, 255]]


def test_points_have_all_colours_on_all_phases() -> None:
    points = structured("points")
    bright = np.argwhere(points.any(axis=-1))
    assert len(bright) == 64
    assert len({tuple(points[row, column]) for row, column in bright}) == 8
    assert {int(position) % 16 for position in bright[:, 0]} == {int(p) % 16 for p in range(13, 224, 27)}


def test_noise_has_every_level_equally_often() -> None:
    counts = np.bincount(structured("noise").reshape(-1), minlength=256)
    assert counts.sum() / 256 * 0.7 < counts.min() <= counts.max() < counts.sum() / 256 * 1.3


@pytest.mark.parametrize(("name", "level"), [("black", 0), ("white", 255)])
@pytest.mark.parametrize("image_size", [16, 224])
def test_constant_images_have_one_level(name: str, level: int, image_size: int) -> None:
    assert (structured(name, image_size) == level).all()


@pytest.mark.parametrize(("image_size", "position"), [(16, (8, 8)), (224, (112, 112))])
def test_pixel_is_one_white_pixel_on_black(image_size: int, position: tuple[int, int]) -> None:
    image = structured("pixel", image_size)
    assert image[position].tolist() == [255, 255, 255]
    assert image.sum(dtype=np.int64) == 3 * 255


def test_saturated_bytes_are_independently_at_either_end() -> None:
    saturated = structured("saturated")
    # The top bits of the first sixteen bytes of PCG64's stream, lowest byte of a word first.
    assert saturated.reshape(-1)[:16].tolist() == [
        *(255, 255, 255, 255, 0, 255, 0, 255),
        *(0, 255, 0, 0, 255, 255, 255, 255),
    ]
    assert np.unique(saturated).tolist() == [0, 255]
    signs, noise_signs = (np.where(image < 128, -1, 1) for image in (saturated, structured("noise")))
    right, below = signs[:, 1:] * signs[:, :-1], signs[1:] * signs[:-1]
    channels, noise = signs[..., 1:] * signs[..., :-1], signs * noise_signs
    for coins in (signs, right, below, channels, noise):  # about 10^5 each: their mean deviates by 0.003
        assert abs(coins.mean()) < 0.015


def test_golden_input_spans_the_range_of_the_network() -> None:
    contract = preprocessing_for("official", 224)
    batch = normalize(golden_images(contract)[1], contract)
    assert batch.shape == (12, 3, 224, 224)
    assert batch.min() < -2.1
    assert batch.max() > 2.6


def test_missing_photographs_are_an_incomplete_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(golden, "PHOTOGRAPHS", ("absent",))
    with pytest.raises(EnvironmentIncompleteError, match=r"absent\.jpg is missing"):
        golden_images(preprocessing_for("official", 32))

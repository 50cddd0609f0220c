"""The golden images: the same bytes on every machine, and varied enough to prove something."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from levit_deploy import golden
from levit_deploy.errors import EnvironmentIncompleteError
from levit_deploy.golden import golden_images
from levit_deploy.preprocessing import normalize, preprocess_file, preprocessing_for

PHOTOGRAPHS = Path(__file__).parents[2] / "levit_deploy/data/photographs"
NAMES = ("astronaut", "chelsea", "coffee", "rocket", "gradients", "checkerboard", "points", "noise")


@pytest.mark.parametrize("image_size", [16, 32, 224, 304])
def test_golden_images_have_the_size_of_the_contract(image_size: int) -> None:
    names, pixels = golden_images(preprocessing_for("official", image_size))
    assert names == NAMES
    assert pixels.shape == (8, image_size, image_size, 3)
    assert pixels.dtype == np.uint8
    assert len({image.tobytes() for image in pixels}) == 8


# Equal with Pillow 12.3.0 and 13.0.0; made by tools/make_golden_photographs.py and golden.py on x86-64.
@pytest.mark.parametrize(
    ("origin", "image_size", "digest"),
    [
        ("official", 224, "52d23310335d38278289f19bb4d2aa4923eaae89eadf4930ede836614f5eecae"),
        ("timm", 224, "51550833b2966aa03718f780ff922aede684ed40b3c4156037d5c574f74084e4"),
        ("official", 288, "a8662ec0888e0d4647887ba8dddc54681b208c43be3691fdc21a9c3ea122f3fd"),
    ],
)
def test_golden_images_never_change(origin: str, image_size: int, digest: str) -> None:
    _, pixels = golden_images(preprocessing_for(origin, image_size))
    assert hashlib.sha256(pixels.tobytes()).hexdigest() == digest


def test_photographs_go_through_the_contract() -> None:
    contract = preprocessing_for("timm", 224)
    _, pixels = golden_images(contract)
    for name, image in zip(NAMES[:4], pixels, strict=False):
        np.testing.assert_array_equal(image, preprocess_file(PHOTOGRAPHS / f"{name}.jpg", contract))


def test_photographs_are_what_their_readme_lists() -> None:
    listed = [line.split() for line in (PHOTOGRAPHS / "README.md").read_text("utf-8").splitlines() if ".jpg" in line]
    digests = {words[1]: words[0] for words in listed if len(words) == 2}
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in PHOTOGRAPHS.glob("*.jpg")}
    assert digests == found
    assert sorted(found) == sorted(f"{name}.jpg" for name in NAMES[:4])


def test_structured_images_are_as_described() -> None:
    _, pixels = golden_images(preprocessing_for("official", 224))
    gradients, checkerboard, points, noise = pixels[4:]
    assert gradients[0, 0].tolist() == [0, 0, 127]
    assert gradients[223, 223].tolist() == [255, 255, 127]
    assert gradients[223, 0].tolist() == [0, 255, 255]
    assert np.abs(np.diff(gradients.astype(int), axis=0)).max() <= 2
    assert checkerboard[:4, :2, 0].tolist() == [[0, 255], [255, 0]] * 2
    assert checkerboard[0, :6].T.tolist() == [[0, 255] * 3, [0, 0, 255, 255, 0, 0], [0, 0, 0, 255, 255, 255]]
    bright = np.argwhere(points.any(axis=-1))
    assert len(bright) == 64
    assert len({tuple(points[row, column]) for row, column in bright}) == 8
    assert {int(position) % 16 for position in bright[:, 0]} == {int(p) % 16 for p in range(13, 224, 27)}
    counts = np.bincount(noise.reshape(-1), minlength=256)
    assert counts.sum() / 256 * 0.7 < counts.min() <= counts.max() < counts.sum() / 256 * 1.3


def test_golden_input_spans_the_range_of_the_network() -> None:
    contract = preprocessing_for("official", 224)
    batch = normalize(golden_images(contract)[1], contract)
    assert batch.shape == (8, 3, 224, 224)
    assert batch.min() < -2.1
    assert batch.max() > 2.6


def test_missing_photographs_are_an_incomplete_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(golden, "PHOTOGRAPHS", ("absent",))
    with pytest.raises(EnvironmentIncompleteError, match=r"absent\.jpg is missing"):
        golden_images(preprocessing_for("official", 32))

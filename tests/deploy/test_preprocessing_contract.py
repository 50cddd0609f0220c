"""The contract as values and as JSON: what it says, what it refuses."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from levit_deploy.errors import BundleError, ConfigError
from levit_deploy.preprocessing import CropRounding, Preprocessing, preprocessing_for

OFFICIAL = preprocessing_for("official", 224)
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("origin", "image_size", "shorter_side", "rounding"),
    [
        ("official", 224, 256, CropRounding.HALF_EVEN),
        ("untrained", 224, 256, CropRounding.HALF_EVEN),
        ("mmpretrain", 224, 256, CropRounding.HALF_EVEN),
        ("timm", 224, 248, CropRounding.HALF_EVEN),
        ("transformers", 224, 256, CropRounding.FLOOR),
        ("official", 288, 329, CropRounding.HALF_EVEN),
        ("timm", 288, 320, CropRounding.HALF_EVEN),
        ("official", 16, 18, CropRounding.HALF_EVEN),
    ],
)
def test_preprocessing_for_gives_each_origin_its_rule(
    origin: str, image_size: int, shorter_side: int, rounding: CropRounding
) -> None:
    contract = preprocessing_for(origin, image_size, apply_exif_orientation=True)
    assert (contract.resize_shorter_side, contract.crop_rounding) == (shorter_side, rounding)
    assert (contract.mean, contract.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert contract.apply_exif_orientation


def test_preprocessing_for_lists_the_origins() -> None:
    with pytest.raises(ConfigError, match="official, timm, transformers, mmpretrain, untrained"):
        preprocessing_for("keras", 224)


@pytest.mark.parametrize(
    "changes",
    [
        {"image_size": 257},
        {"image_size": 0},
        {"image_size": -224, "resize_shorter_side": -1},
        {"resize_shorter_side": 8193},
        {"mean": (123.675, 116.28, 103.53)},
        {"mean": (0.5, 0.5)},
        {"mean": (0.5, 0.5, math.nan)},
        {"std": (58.395, 57.12, 57.375)},
        {"std": (0.0, 0.5, 0.5)},
        {"std": (math.nan, 0.5, 0.5)},
    ],
    ids=str,
)
def test_contract_refuses_values_out_of_range(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        replace(OFFICIAL, **changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("origin", ["official", "timm", "transformers"])
@pytest.mark.parametrize("apply_exif_orientation", [False, True])
def test_json_round_trip_is_the_identity(origin: str, apply_exif_orientation: bool) -> None:
    contract = preprocessing_for(origin, 288, apply_exif_orientation=apply_exif_orientation)
    assert Preprocessing.from_json(json.loads(json.dumps(contract.to_json()))) == contract


def test_json_describes_itself() -> None:
    assert OFFICIAL.to_json() == {
        "colour": "RGB",
        "exif_orientation": "ignored",
        "resize_shorter_side": 256,
        "resize_longer_side": "truncated",
        "interpolation": "bicubic, antialiased",
        "resize_pass_order": "horizontal, vertical",
        "crop": "centre",
        "crop_rounding": "half_even",
        "image_size": 224,
        "scale": "1/255",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "layout": "NCHW",
    }


def test_from_json_takes_whole_numbers_as_mean_and_std() -> None:
    contract = Preprocessing.from_json({**OFFICIAL.to_json(), "mean": [0, 0, 0], "std": [1, 1, 1]})
    assert (contract.mean, contract.std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("interpolation", "bilinear"),
        ("resize_pass_order", "vertical, horizontal"),
        ("resize_longer_side", "rounded"),
        ("colour", "BGR"),
        ("crop", "none"),
        ("scale", 1 / 255),
        ("layout", "NHWC"),
        ("crop_rounding", "up"),
        ("crop_rounding", ["floor"]),
        ("exif_orientation", True),
        ("image_size", 224.0),
        ("image_size", True),
        ("image_size", 512),
        ("resize_shorter_side", "256"),
        ("resize_shorter_side", 10**9),
        ("mean", 0.5),
        ("mean", [0.5, 0.5]),
        ("mean", [0.5, 0.5, "0.5"]),
        ("mean", [0.5, 0.5, math.nan]),
        ("mean", [0.5, 0.5, 10**400]),
        ("std", [0.5, True, 0.5]),
        ("std", [0.5, 0.5, 0.0]),
    ],
)
def test_from_json_refuses_what_it_does_not_implement(key: str, value: object) -> None:
    with pytest.raises(BundleError) as caught:
        Preprocessing.from_json({**OFFICIAL.to_json(), key: value})
    message = str(caught.value)
    assert message.startswith("preprocessing: ")
    assert "\n" not in message
    assert key.replace("_", " ") in message.replace("_", " ") or "shorter side" in message


def test_from_json_refuses_missing_and_unknown_fields() -> None:
    document = OFFICIAL.to_json()
    del document["crop_rounding"]
    document["gamma"] = 2.2
    with pytest.raises(BundleError, match=r"missing fields \['crop_rounding'\], unknown fields \['gamma'\]"):
        Preprocessing.from_json(document)


@pytest.mark.parametrize("document", [None, [], "preprocessing"], ids=repr)
def test_from_json_refuses_what_is_no_object(document: Any) -> None:
    with pytest.raises(BundleError, match="not an object"):
        Preprocessing.from_json(document)


def test_preprocessing_works_without_torch() -> None:
    script = "import levit_deploy.golden, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0

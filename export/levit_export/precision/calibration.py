"""The real images whose activations give a quantised network its ranges."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from levit_deploy.image_folder import load_photographs
from levit_deploy.preprocessing import Preprocessing

MOST_IMAGES = 512
FEW_IMAGES = 100
"""Ranges hardly move beyond the first; taken at equal distances from all there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationSet:
    """RGB pixels (n, S, S, 3) as the network's preprocessing makes them, of how many files, and their sha256."""

    pixels: NDArray[np.uint8]
    available: int
    sha256: str

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user."""
        if len(self.pixels) >= FEW_IMAGES:
            return ()
        return (
            f"calibrated on {len(self.pixels)} images: what they do not show is clipped; give {FEW_IMAGES} or more of "
            "the kind that the network will see",
        )

    def to_json(self) -> Mapping[str, Any]:
        """What the manifest says of it."""
        return {"images": len(self.pixels), "of": self.available, "pixels_sha256": self.sha256}


def read_calibration(folder: Path, contract: Preprocessing) -> CalibrationSet:
    """At most MOST_IMAGES images below `folder`. Raises ImageError when there is none, or one cannot be read."""
    _, pixels, available = load_photographs(folder, contract, MOST_IMAGES)
    return CalibrationSet(pixels=pixels, available=available, sha256=hashlib.sha256(pixels.tobytes()).hexdigest())

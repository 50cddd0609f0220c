"""Images as a bundle's graph takes them: pixels or numbers, and as many at a time as it wants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from levit_deploy.bundle import Bundle
from levit_deploy.manifest import BatchSizes
from levit_deploy.preprocessing import normalize

LARGEST_GROUP = 16


def group_size(sizes: BatchSizes) -> int:
    """How many images to run at a time: as many as one inference may hold, up to LARGEST_GROUP."""
    return min(max(sizes.minimum, LARGEST_GROUP), sizes.maximum)


def as_input(bundle: Bundle, pixels: NDArray[np.uint8]) -> NDArray[Any]:
    """RGB pixels (n, S, S, 3) as the bundle's graph takes them."""
    # A graph that takes uint8 normalises by itself; runner.check_specification admits only these two kinds.
    manifest = bundle.manifest
    return pixels if manifest.input.dtype == "uint8" else normalize(pixels, manifest.preprocessing)


def as_batch(bundle: Bundle, pixels: Sequence[NDArray[np.uint8]], *, minimum: int) -> NDArray[Any]:
    """The network's input for images (S, S, 3); the last one is repeated up to `minimum` images."""
    return as_input(bundle, np.stack([*pixels, *[pixels[-1]] * (minimum - len(pixels))]))

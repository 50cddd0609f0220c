"""The user's photographs, as the network sees them: to verify with, to calibrate with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from levit_deploy.decoding import IMAGE_SUFFIXES
from levit_deploy.errors import ImageError
from levit_deploy.preprocessing import Preprocessing, preprocess_file


def load_photographs(
    folder: Path, contract: Preprocessing, count: int
) -> tuple[tuple[str, ...], NDArray[np.uint8], int]:
    """Names and pixels (n, S, S, 3) of at most `count` images below `folder`, and how many there are.

    Taken at equal distances from all of them in order of their paths, so that every class of a sorted data set has
    its chance. Raises ImageError when there is none, or one of them cannot be read.
    """
    if not folder.is_dir():
        raise ImageError(f"{folder}: is not a folder of images")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    if not files:
        raise ImageError(f"{folder}: holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
    places = np.unique(np.linspace(0, len(files) - 1, min(count, len(files))).round().astype(int))
    chosen = [files[place] for place in places]
    pixels = np.stack([preprocess_file(file, contract) for file in chosen])
    return tuple(str(file.relative_to(folder)) for file in chosen), pixels, len(files)

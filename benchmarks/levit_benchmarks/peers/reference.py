"""What a peer's logits are compared with before its timing counts, and the photographs that are timed.

n images of a reference, S their side in pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from levit_deploy.bundle import Bundle, Golden
from levit_deploy.golden import PHOTOGRAPHS
from levit_deploy.parity import Rung, compare_logits
from levit_deploy.preprocessing import Preprocessing, normalize

FILE = "reference.safetensors"
# Of the largest logit. The seven networks, folded, were at most 8e-6 away in eager float32; without normalisations and
# activations, as the official speed test would have them today, the EfficientNets are 600 and more.
RELATIVE_TOLERANCE = 1e-4

Infer = Callable[[NDArray[Any]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Normalised images (n, 3, S, S) float32, the first of them photographs, and their logits (n, K) in float64.

    `tolerances` holds the largest |difference| allowed of each image; `origin` says whose logits they are.
    """

    images: NDArray[np.float32]
    logits: NDArray[np.float64]
    tolerances: tuple[float, ...]
    origin: str

    def photographs(self, batch: int) -> NDArray[np.float32]:
        """`batch` photographs, repeated as needed."""
        return np.ascontiguousarray(self.images[np.arange(batch) % len(PHOTOGRAPHS)])

    def check(self, infer: Infer, batch: int) -> str:
        """Compare the logits of all images, `batch` at a time, and say how close they are. Raises ParityError."""
        count = len(self.images)
        chunks = np.arange(-(-count // batch) * batch).reshape(-1, batch) % count
        rows = chunks.ravel()
        rung = Rung(
            stage="the peer",
            batch_size=batch,
            images=tuple(rows.tolist()),
            comparison=compare_logits(self.logits[rows], np.concatenate([infer(self.images[some]) for some in chunks])),
            bounds=tuple(self.tolerances[row] for row in rows),
        )
        rung.require()
        return (
            f"{count} images at batch {batch} against {self.origin}: "
            f"largest error {rung.comparison.max_abs_error:.1e}, {rung.bound_share:.1%} of what is allowed"
        )


def reference_of(bundle: Bundle) -> Reference:
    """The golden images of `bundle`, with its own tolerances."""
    golden, manifest = bundle.golden(), bundle.manifest
    return Reference(
        images=normalize(golden.images, manifest.preprocessing),
        logits=golden.logits,
        tolerances=manifest.golden_tolerance,
        origin="the bundle's float64 golden logits",
    )


def write_reference(folder: Path, golden: Golden) -> None:
    """Keep `golden`, of a network that is not the bundle's, for `read_reference`."""
    (folder / FILE).write_bytes(golden.to_bytes())


def read_reference(folder: Path, contract: Preprocessing) -> Reference:
    """What `write_reference` has left in `folder`."""
    tensors = safetensors.numpy.load_file(folder / FILE)
    logits = tensors["logits"]
    return Reference(
        images=normalize(tensors["images"], contract),
        logits=logits,
        tolerances=(RELATIVE_TOLERANCE * float(np.abs(logits).max()),) * len(logits),
        origin="eager PyTorch in float64, its normalisations not folded",
    )

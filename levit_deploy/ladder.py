"""The parity ladder: every stage of a deployment against the truth and against the stage before it.

A rung runs all images at every batch size that is vouched for. A batch takes the images in turn, so every image is
seen at every size, alone and beside others. NumPy only: what runs the network is a `Candidate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from levit_deploy.blame import Blame, ProbeError, error_by_depth, find_culprit
from levit_deploy.bundle import Golden
from levit_deploy.errors import ParityError
from levit_deploy.module_truth import ModuleTruth, ProbeValues
from levit_deploy.parity import Hop, Rung, compare_logits, decisive_of
from levit_deploy.preprocessing import Preprocessing, normalize

# Float64 values of one image of LeViT-384 at 224 pixels take 100 MB while they are computed.
MOST_IMAGES_INSIDE = 4


class Candidate(Protocol):
    """Something that should compute what the truth does: a network, a graph, an engine."""

    @property
    def stage(self) -> str:
        """Its name on the ladder."""

    @property
    def takes_pixels(self) -> bool:
        """Whether its input is RGB pixels (n, S, S, 3) uint8, or else normalised images (n, 3, S, S) float32."""

    def infer(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Logits (n, K)."""

    def probe(self, images: NDArray[Any]) -> ProbeValues:
        """Sampled values (n, samples) of the probes that it can offer, by name; empty when it offers none."""


class ModuleReference(Protocol):
    """Where the truth about intermediate values comes from."""

    def about(self, images: Sequence[int]) -> ModuleTruth:
        """The inside of the network for the images with these indices or, where that cannot be had, for others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """The images, their float64 eager logits, and how far rounding may move each image's logits."""

    golden: Golden
    bounds: NDArray[np.float64]
    contract: Preprocessing
    modules: ModuleReference

    def inputs(self, *, pixels: bool) -> NDArray[Any]:
        """The images as a candidate takes them: uint8 pixels (n, S, S, 3), or normalised (n, 3, S, S)."""
        return self.golden.images if pixels else normalize(self.golden.images, self.contract)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One stage of the ladder: its rungs, and the logits that the next stage is compared with."""

    stage: str
    rungs: tuple[Rung, ...]
    logits: Mapping[int, NDArray[np.float32]]

    @property
    def decisive(self) -> Rung:
        """The rung that speaks for all."""
        return decisive_of(self.rungs)

    def __bool__(self) -> bool:
        return bool(self.rungs) and all(self.rungs)


def measure(
    candidate: Candidate, truth: Truth, batch_sizes: Sequence[int], previous: Measured | None = None
) -> Measured:
    """`candidate` against the truth, one rung for each batch size, and hop by hop against `previous`."""
    inputs = truth.inputs(pixels=candidate.takes_pixels)
    rungs, logits = [], {}
    for size in batch_sizes:
        order = _order(len(inputs), size)
        batches = np.split(order, len(order) // size)
        wanted = (size, truth.golden.logits.shape[1])
        logits[size] = np.concatenate([_checked(candidate.infer(inputs[rows]), wanted) for rows in batches])
        bounds = tuple(float(bound) for bound in truth.bounds[order])
        rung = Rung(
            stage=candidate.stage,
            batch_size=size,
            images=tuple(int(image) for image in order),
            comparison=compare_logits(truth.golden.logits[order], logits[size]),
            bounds=bounds,
            hop=None if previous is None else _hop(previous, logits[size], size, bounds),
        )
        rungs.append(rung)
    return Measured(stage=candidate.stage, rungs=tuple(rungs), logits=logits)


def _checked(logits: NDArray[np.float32], wanted: tuple[int, int]) -> NDArray[np.float32]:
    if np.shape(logits) != wanted:
        raise ParityError(f"logits are {np.shape(logits)}, wanted are {wanted}")
    return logits


def _order(count: int, batch_size: int) -> NDArray[np.intp]:
    """Indices of images in whole batches; the last batch starts again from the first image."""
    return np.arange(-(-count // batch_size) * batch_size) % count


def _hop(previous: Measured, logits: NDArray[np.float32], size: int, bounds: Sequence[float]) -> Hop | None:
    if size not in previous.logits:
        return None
    # Each of the two may be its bound away from the truth, in opposite directions.
    return Hop(
        previous=previous.stage,
        comparison=compare_logits(previous.logits[size], logits),
        bounds=tuple(2 * bound for bound in bounds),
    )


def probe_depth(candidate: Candidate, truth: Truth, rung: Rung) -> tuple[ModuleTruth, tuple[ProbeError, ...]]:
    """The errors of a candidate over the depth of the network, in the batch that decided against `rung`.

    Of a rung that holds it is the first batch, the same for all stages. Every row is compared that the truth knows the
    inside of. Where it knows none, a batch of the same size is made of the images that it knows.
    """
    row = 0 if rung else rung.decisive_row
    start = row // rung.batch_size * rung.batch_size
    batch = rung.images[start : start + rung.batch_size]
    known = truth.modules.about(tuple(dict.fromkeys((rung.images[row], *batch)))[:MOST_IMAGES_INSIDE])
    positions, expected = known.rows_of(batch)
    if not positions:
        batch = tuple(int(image) for image in np.resize(known.images, rung.batch_size))
        positions, expected = known.rows_of(batch)
    inputs = truth.inputs(pixels=candidate.takes_pixels)
    values = candidate.probe(inputs[list(batch)])
    return expected, error_by_depth(expected, {name: value[list(positions)] for name, value in values.items()})


def blame(candidate: Candidate, truth: Truth, rung: Rung) -> Blame:
    """The module that `rung`, which misses, is to be blamed on."""
    known, profile = probe_depth(candidate, truth, rung)
    return find_culprit(known, profile, stage=rung.stage, batch_size=rung.batch_size, image=rung.decisive_image)


def require(candidate: Candidate, truth: Truth, measured: Measured) -> None:
    """Raise ParityError, with the figures and the module at fault, unless every rung holds."""
    if measured:
        return
    rung = measured.decisive
    found = blame(candidate, truth, rung)
    raise ParityError(f"{rung.sentence()}; {found.sentence()}", module=found.module)

"""How far two sets of logits are apart, and whether that is allowed. Arrays in, values out: knows no engine.

Every verdict is written as "must be <=", so that a NaN anywhere fails it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from levit_deploy.errors import ParityError

TOP5 = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """An image whose best class changed; `margin` is how far apart both classes are in the reference logits."""

    image: int
    reference_class: int
    candidate_class: int
    margin: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Candidate logits against reference logits (n, classes).

    `max_abs_errors` holds the worst |candidate - reference| of each image; `relative_l2` is |error| / |reference|
    over all logits, and `sqnr_db` the same as a signal-to-noise ratio in decibel (infinite when equal).
    """

    max_abs_errors: tuple[float, ...]
    relative_l2: float
    sqnr_db: float
    top1_agreement: float
    top5_overlap: float
    flips: tuple[Flip, ...]

    @property
    def max_abs_error(self) -> float:
        """The worst of all logits; NaN when any is NaN."""
        return float(np.max(self.max_abs_errors))

    @property
    def worst_image(self) -> int:
        """Index of the image with the largest error; one with a NaN before all others."""
        return int(np.argmax(self.max_abs_errors))


def compare_logits(reference: NDArray[Any], candidate: NDArray[Any]) -> Comparison:
    """Measure `candidate` against `reference`, both (n, classes), in float64.

    Raises ValueError when the shapes differ. Values that are not finite give NaN or infinite errors.
    """
    if reference.shape != candidate.shape or reference.ndim != 2:
        raise ValueError(f"expected two (n, classes) arrays, got {reference.shape} and {candidate.shape}")
    expected, actual = reference.astype(np.float64), candidate.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        error = actual - expected
        relative_l2 = float(np.linalg.norm(error) / np.linalg.norm(expected)) if np.any(error) else 0.0
        sqnr_db = float(-20.0 * np.log10(relative_l2)) if relative_l2 else float("inf")
    return Comparison(
        max_abs_errors=tuple(float(worst) for worst in np.abs(error).max(axis=1)),
        relative_l2=relative_l2,
        sqnr_db=sqnr_db,
        top1_agreement=float((expected.argmax(1) == actual.argmax(1)).mean()),
        top5_overlap=_top5_overlap(expected, actual),
        flips=_flips(expected, actual),
    )


def _top5_overlap(expected: NDArray[np.float64], actual: NDArray[np.float64]) -> float:
    count = min(TOP5, expected.shape[1])
    pairs = zip(np.argsort(-expected, axis=1), np.argsort(-actual, axis=1), strict=True)
    return float(np.mean([len(set(a[:count]) & set(b[:count])) / count for a, b in pairs]))


def _flips(expected: NDArray[np.float64], actual: NDArray[np.float64]) -> tuple[Flip, ...]:
    before, after = expected.argmax(1), actual.argmax(1)
    return tuple(
        Flip(
            image=int(image),
            reference_class=int(before[image]),
            candidate_class=int(after[image]),
            margin=float(expected[image, before[image]] - expected[image, after[image]]),
        )
        for image in np.flatnonzero(before != after)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One rung of the ladder at one batch size: what was measured and the bound it was held to.

    `bounds` has one number for each compared image. The rung is truthy when it holds.
    """

    stage: str
    batch_size: int
    comparison: Comparison
    bounds: tuple[float, ...]

    @property
    def bound_shares(self) -> tuple[float, ...]:
        """Each image's error as a share of its bound; a bound of zero allows no error at all."""
        return tuple(
            error / bound if bound else (0.0 if error == 0.0 else math.inf)
            for error, bound in zip(self.comparison.max_abs_errors, self.bounds, strict=True)
        )

    @property
    def decisive_image(self) -> int:
        """Index of the image closest to its bound, or furthest beyond it; one with a NaN before all others."""
        errors, shares = np.asarray(self.comparison.max_abs_errors), np.asarray(self.bound_shares)
        for suspects in (np.isnan(shares) & ~np.isfinite(errors), np.isnan(shares)):
            if suspects.any():
                return int(np.argmax(suspects))
        return int(np.argmax(shares))

    @property
    def bound_share(self) -> float:
        """The share of the decisive image; the rung holds when this is <= 1."""
        return self.bound_shares[self.decisive_image]

    def __bool__(self) -> bool:
        return self.bound_share <= 1.0

    def require(self) -> None:
        """Raise ParityError, with the figures, when the rung does not hold."""
        if not self:
            image = self.decisive_image
            raise ParityError(
                f"parity lost at stage {self.stage!r}, batch {self.batch_size}: golden image {image} is "
                f"{self.comparison.max_abs_errors[image]:.3g} from float64, allowed is {self.bounds[image]:.3g}"
            )

    def to_json(self) -> dict[str, Any]:
        comparison = self.comparison
        return {
            "stage": self.stage,
            "batch_size": self.batch_size,
            "verdict": "pass" if self else "miss",
            "max_abs_error": _finite_or_text(comparison.max_abs_error),
            "decisive_image": self.decisive_image,
            "bound": _finite_or_text(self.bounds[self.decisive_image]),
            "bound_share": _finite_or_text(self.bound_share),
            "relative_l2": _finite_or_text(comparison.relative_l2),
            "sqnr_db": _finite_or_text(comparison.sqnr_db),
            "top1_agreement": comparison.top1_agreement,
            "top5_overlap": comparison.top5_overlap,
            "flips": [
                {
                    "image": flip.image,
                    "reference_class": flip.reference_class,
                    "candidate_class": flip.candidate_class,
                    "margin": _finite_or_text(flip.margin),
                }
                for flip in comparison.flips
            ],
        }


def worst_rung(rungs: Sequence[Rung]) -> Rung:
    """The rung with the largest share of its bound; one with a NaN before all others."""
    return rungs[int(np.argmax([rung.bound_share for rung in rungs]))]


def _finite_or_text(value: float) -> float | str:
    # JSON has no NaN or Infinity; Python's writer would emit tokens that other readers reject.
    return value if np.isfinite(value) else str(value)

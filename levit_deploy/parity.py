"""How far two sets of logits are apart, and whether that is allowed. Arrays in, values out: knows no engine.

Every verdict is written as "must be <=", so that a NaN anywhere fails it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from levit_deploy.errors import ParityError

TOP5 = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """A row whose best class changed; `margin` is how far apart both classes are in the reference logits."""

    row: int
    reference_class: int
    candidate_class: int
    margin: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Candidate logits against reference logits (n, classes).

    `max_abs_errors` holds the worst |candidate - reference| of each row; `relative_l2` is |error| / |reference|
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
    def worst_row(self) -> int:
        """Index of the row with the largest error; one with a NaN before all others."""
        return int(np.argmax(self.max_abs_errors))


def compare_logits(reference: NDArray[Any], candidate: NDArray[Any]) -> Comparison:
    """Measure `candidate` against `reference`, both (n, classes), in float64.

    Raises ValueError when the shapes differ or are empty. Values that are not finite give NaN or infinite errors.
    """
    if reference.shape != candidate.shape or reference.ndim != 2 or not reference.size:
        raise ValueError(f"expected two (n, classes) arrays, got {reference.shape} and {candidate.shape}")
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        expected, actual = reference.astype(np.float64), candidate.astype(np.float64)
        error = actual - expected
        relative_l2 = float(np.linalg.norm(error) / np.linalg.norm(expected)) if np.any(error) else 0.0
        sqnr_db = float(-20.0 * np.log10(relative_l2)) if relative_l2 else float("inf")
        flips = _flips(expected, actual)
    return Comparison(
        max_abs_errors=tuple(float(worst) for worst in np.abs(error).max(axis=1)),
        relative_l2=relative_l2,
        sqnr_db=sqnr_db,
        top1_agreement=float((expected.argmax(1) == actual.argmax(1)).mean()),
        top5_overlap=_top5_overlap(expected, actual),
        flips=flips,
    )


def _top5_overlap(expected: NDArray[np.float64], actual: NDArray[np.float64]) -> float:
    count = min(TOP5, expected.shape[1])
    # Stable, so that of equal logits the lower class comes first on every machine, as it does with argmax.
    pairs = zip(*(np.argsort(-logits, axis=1, kind="stable") for logits in (expected, actual)), strict=True)
    return float(np.mean([len(set(a[:count]) & set(b[:count])) / count for a, b in pairs]))


def _flips(expected: NDArray[np.float64], actual: NDArray[np.float64]) -> tuple[Flip, ...]:
    before, after = expected.argmax(1), actual.argmax(1)
    return tuple(
        Flip(
            row=int(row),
            reference_class=int(before[row]),
            candidate_class=int(after[row]),
            margin=float(expected[row, before[row]] - expected[row, after[row]]),
        )
        for row in np.flatnonzero(before != after)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """A rung against the one before it: what this step alone changed. `bounds` holds one number for each row."""

    previous: str
    comparison: Comparison
    bounds: tuple[float, ...]

    @property
    def bound_share(self) -> float:
        """The largest error as a share of its bound; NaN when any error is."""
        return float(np.max(_shares(self.comparison, self.bounds)))

    def __bool__(self) -> bool:
        return self.bound_share <= 1.0

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {
            "previous": self.previous,
            "verdict": "pass" if self else "miss",
            "bound_share": finite_or_text(self.bound_share),
            **_measures(self.comparison),
            "flips": len(self.comparison.flips),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One rung of the ladder at one batch size: what was measured and the bound it was held to.

    `images` says which image each compared row is of, `bounds` how far rounding may move that row. `hop` is the same
    rows against the stage before. The rung is truthy when it holds.
    """

    stage: str
    batch_size: int
    images: tuple[int, ...]
    comparison: Comparison
    bounds: tuple[float, ...]
    hop: Hop | None = None

    @property
    def bound_shares(self) -> tuple[float, ...]:
        """Each row's error as a share of its bound; a bound of zero allows no error at all."""
        return _shares(self.comparison, self.bounds)

    @property
    def decisive_row(self) -> int:
        """Index of the row closest to its bound, or furthest beyond it; one with a NaN before all others."""
        errors, shares = np.asarray(self.comparison.max_abs_errors), np.asarray(self.bound_shares)
        for suspects in (np.isnan(shares) & ~np.isfinite(errors), np.isnan(shares)):
            if suspects.any():
                return int(np.argmax(suspects))
        return int(np.argmax(shares))

    @property
    def decisive_image(self) -> int:
        """The image of the decisive row."""
        return self.images[self.decisive_row]

    @property
    def bound_share(self) -> float:
        """The share of the decisive row; the rung holds when this is <= 1."""
        return self.bound_shares[self.decisive_row]

    def __bool__(self) -> bool:
        return self.bound_share <= 1.0

    @property
    def worst_image(self) -> int:
        """The image with the largest error, whatever its bound."""
        return self.images[self.comparison.worst_row]

    def sentence(self) -> str:
        """The figures of the decisive image for a person."""
        row = self.decisive_row
        return (
            f"parity {'holds' if self else 'lost'} at stage {self.stage!r}, batch {self.batch_size}: image "
            f"{self.images[row]} is {self.comparison.max_abs_errors[row]:.3g} from float64, "
            f"allowed is {self.bounds[row]:.3g}"
        )

    def require(self) -> None:
        """Raise ParityError, with the figures, when the rung does not hold."""
        if not self:
            raise ParityError(self.sentence())

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {
            "stage": self.stage,
            "batch_size": self.batch_size,
            "verdict": "pass" if self else "miss",
            "decisive_image": self.decisive_image,
            "worst_image": self.worst_image,
            "bound": finite_or_text(self.bounds[self.decisive_row]),
            "bound_share": finite_or_text(self.bound_share),
            **_measures(self.comparison),
            "flips": [
                {
                    "image": self.images[flip.row],
                    "reference_class": flip.reference_class,
                    "candidate_class": flip.candidate_class,
                    "margin": finite_or_text(flip.margin),
                }
                for flip in self.comparison.flips
            ],
            "hop": None if self.hop is None else self.hop.to_json(),
        }


def _shares(comparison: Comparison, bounds: Sequence[float]) -> tuple[float, ...]:
    return tuple(_share(error, bound) for error, bound in zip(comparison.max_abs_errors, bounds, strict=True))


def _share(error: float, bound: float) -> float:
    if bound == math.inf:
        return math.nan  # what allows everything proves nothing
    return error / bound if not bound <= 0.0 else (0.0 if error <= bound else math.inf)


def _measures(comparison: Comparison) -> dict[str, Any]:
    return {
        "max_abs_error": finite_or_text(comparison.max_abs_error),
        "relative_l2": finite_or_text(comparison.relative_l2),
        "sqnr_db": finite_or_text(comparison.sqnr_db),
        "top1_agreement": comparison.top1_agreement,
        "top5_overlap": comparison.top5_overlap,
    }


class Judged(Protocol):
    """A result that is held to a bound: truthy when it holds."""

    @property
    def bound_share(self) -> float: ...

    def __bool__(self) -> bool: ...


Result = TypeVar("Result", bound=Judged)


def decisive_of(results: Sequence[Result]) -> Result:
    """The one that speaks for all: the first that does not hold, else the one closest to its bound."""
    return next((result for result in results if not result), max(results, key=lambda result: result.bound_share))


def finite_or_text(value: float) -> float | str:
    """`value` for a JSON document, as text when it is NaN or infinite."""
    # JSON has no NaN or Infinity; Python's writer would emit tokens that other readers reject.
    return value if np.isfinite(value) else str(value)

"""What an evaluation found: of every image the class that was taken for the best, and where the true one stood."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from levit_engines.evaluation.statistics import drop_interval, flips_p_value, images_needed, share_interval

TOP5 = 5
KEPT, LOST, CANNOT_TELL = "kept", "lost", "cannot tell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One image: the best class, and the rank of the true one among all, from 0; the lower index first where equal."""

    best: int
    rank: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """How many of `total` images have their true class first, or among the first five, with exact 95 % intervals."""

    total: int
    top1: int
    top5: int

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> Accuracy:
        """Counted over `outcomes`."""
        ranks = [outcome.rank for outcome in outcomes]
        return cls(total=len(ranks), top1=ranks.count(0), top5=sum(rank < TOP5 for rank in ranks))

    def to_json(self) -> dict[str, Any]:
        """Counts, shares and intervals as plain JSON values."""
        return {
            "images": self.total,
            **{
                name: {"count": count, "share": count / self.total, "interval": list(share_interval(count, self.total))}
                for name, count in (("top1", self.top1), ("top5", self.top5))
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A bundle against a reference: `drop` is how much of its top-1 was lost, `allowed` how much may be.

    Both are shares of all images. `lost` and `gained` count images that only the reference, or only the bundle, has
    right, and `flips` those whose best class differs at all; they are None where the reference is a published figure.
    `images_needed` is given where more images would probably settle it.
    """

    reference: str
    reference_top1: float
    drop: float
    interval: tuple[float, float]
    allowed: float
    verdict: str
    images_needed: int | None = None
    lost: int | None = None
    gained: int | None = None
    flips: int | None = None
    p_value: float | None = None

    def sentence(self) -> str:
        """The verdict for a person."""
        low, high = (100 * end for end in self.interval)
        text = (
            f"top-1 against {self.reference}: {self.verdict}; dropped by {100 * self.drop:.3f} points "
            f"({low:.3f} to {high:.3f}), allowed are {100 * self.allowed:.3f}"
        )
        if self.flips is not None:
            text += f"; {self.flips} best classes differ, {self.lost} right ones lost, {self.gained} won"
        if self.verdict == CANNOT_TELL:
            text += (
                "; no number of images would tell: the drop is just what is allowed"
                if self.images_needed is None
                else f"; about {self.images_needed} more images are needed"
            )
        return text


def compare_paired(
    outcomes: Sequence[Outcome], reference: Sequence[Outcome], *, name: str, budget: float
) -> Comparison:
    """The same images through both; `budget` is the share of the reference's top-1 that may be lost."""
    total = len(outcomes)
    pairs = list(zip(outcomes, reference, strict=True))
    lost = sum(mine.rank > 0 and theirs.rank == 0 for mine, theirs in pairs)
    gained = sum(mine.rank == 0 and theirs.rank > 0 for mine, theirs in pairs)
    reference_top1 = Accuracy.of(reference).top1 / total
    allowed = budget * reference_top1
    interval = drop_interval(lost, gained, total)
    verdict = verdict_on(interval, allowed)
    return Comparison(
        reference=name,
        reference_top1=reference_top1,
        drop=(lost - gained) / total,
        interval=interval,
        allowed=allowed,
        verdict=verdict,
        images_needed=images_needed(lost, gained, total, allowed) if verdict == CANNOT_TELL else None,
        lost=lost,
        gained=gained,
        flips=sum(mine.best != theirs.best for mine, theirs in pairs),
        p_value=flips_p_value(lost, gained),
    )


def compare_published(outcomes: Sequence[Outcome], *, published_top1: float, name: str, budget: float) -> Comparison:
    """Against a figure that somebody published, a share; nothing is paired, so far more images are needed."""
    accuracy = Accuracy.of(outcomes)
    low, high = share_interval(accuracy.top1, accuracy.total)
    share = accuracy.top1 / accuracy.total
    allowed, interval = budget * published_top1, (published_top1 - high, published_top1 - low)
    verdict = verdict_on(interval, allowed)
    # An unpaired share is a paired one whose reference is right on every image, and as far above it as published.
    wrong = accuracy.total - accuracy.top1
    needed = images_needed(wrong, 0, accuracy.total, 1 - published_top1 + allowed)
    return Comparison(
        reference=name,
        reference_top1=published_top1,
        drop=published_top1 - share,
        interval=interval,
        allowed=allowed,
        verdict=verdict,
        images_needed=needed if verdict == CANNOT_TELL else None,
    )


def verdict_on(interval: tuple[float, float], allowed: float) -> str:
    """KEPT where the whole interval is allowed, LOST where none of it is."""
    low, high = interval
    if high <= allowed:
        return KEPT
    return LOST if low > allowed else CANNOT_TELL

"""Exact statistics without assumptions on how times are distributed: order statistics and the binomial law.

n samples, q a percentile as a share.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import median

PERCENTILES = (50.0, 90.0, 99.0, 99.9)
PERCENTILE_CONFIDENCE = 0.99
INTERVAL_CONFIDENCE = 0.95


@lru_cache
def fewest_samples(percentile: float) -> int:
    """How many samples carry a percentile: 64 for the 90th, 662 for the 99th, 6636 for the 99.9th.

    So many that two of them at least are above the true percentile, with 99 % confidence, so that the one estimated is
    not below it for want of slow calls: the fewest n with P(Binomial(n, 1 - q) <= 1) <= 1 %.
    Source: MLPerf's rules, early stopping.
    """
    below = percentile / 100
    count = 1
    while below**count + count * (1 - below) * below ** (count - 1) > 1 - PERCENTILE_CONFIDENCE:
        count += 1
    return count


def carried_percentiles(samples: Sequence[float]) -> dict[float, float]:
    """The percentiles that so many samples carry; each is one of the samples (nearest rank)."""
    ordered = sorted(samples)
    return {
        percentile: ordered[math.ceil(percentile / 100 * len(ordered)) - 1]
        for percentile in PERCENTILES
        if len(ordered) >= fewest_samples(percentile)
    }


def median_interval(samples: Sequence[float]) -> tuple[float, float] | None:
    """An interval that holds the true median with 95 % confidence at least; None where so few samples give none.

    From the k-th smallest to the k-th largest, with the largest k that leaves at most 2.5 % beyond each: exact for
    whatever distribution the samples come from. It needs 6 of them.
    """
    ordered, count = sorted(samples), len(samples)
    most = (1 - INTERVAL_CONFIDENCE) / 2 * 2**count
    rank, beyond = 0, 0
    while (beyond := beyond + math.comb(count, rank)) <= most:
        rank += 1
    return (ordered[rank - 1], ordered[count - rank]) if rank else None


def relative_spread(samples: Sequence[float]) -> float:
    """The interquartile range over the median; 0 for a single sample."""
    ordered = sorted(samples)
    lower, upper = (_interpolated(ordered, share) for share in (0.25, 0.75))
    return (upper - lower) / median(ordered)


def _interpolated(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])

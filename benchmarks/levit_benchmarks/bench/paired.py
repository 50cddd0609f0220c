"""How much longer one candidate takes than another in the same rounds: the signed-rank test, turned around.

n is the number of rounds, T the sum of the ranks of those ratios (by their distance from the factor asked about) that
are below it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from levit_benchmarks.bench.statistics import INTERVAL_CONFIDENCE

# From here on the normal approximation of T is as good as its exact distribution.
MOST_EXACT_ROUNDS = 100


def paired_interval(ratios: Sequence[float]) -> tuple[float, float] | None:
    """Every factor that Wilcoxon's signed-rank test on the rounds' ratios does not rule out, with 95 % confidence.

    Exact where the logarithms of the ratios scatter alike to both sides, as they do between two candidates that differ
    by a factor; it excludes 1 just where the test tells them apart. None for fewer than 6 rounds. From the k-th
    smallest to the k-th largest geometric mean of two ratios (Walsh averages), with the largest k for which P(T < k)
    is at most 2.5 %. Ratios must be above 0.
    Source: Hodges and Lehmann, "Estimates of Location Based on Rank Tests", 1963.
    """
    values = np.asarray(ratios, np.float64)
    rows, columns = np.triu_indices(len(values))
    means = np.sort(np.sqrt(values[rows] * values[columns]))
    rank = _rank(len(values))
    return (float(means[rank - 1]), float(means[-rank])) if rank else None


@lru_cache
def _rank(rounds: int) -> int:
    """The largest k with P(T < k) <= 2.5 % where nothing differs."""
    beyond, largest = (1 - INTERVAL_CONFIDENCE) / 2, rounds * (rounds + 1) // 2
    if rounds > MOST_EXACT_ROUNDS:
        deviation = math.sqrt(largest * (2 * rounds + 1) / 12)
        return max(0, math.floor(NormalDist(largest / 2, deviation).inv_cdf(beyond)))
    allowed, rank, reached = beyond * 2**rounds, 0, 0
    for ways in _ways(rounds):
        reached += ways
        if reached > allowed:
            break
        rank += 1
    return rank


def _ways(rounds: int) -> list[int]:
    """In how many of the 2^n choices of signs T is 0, 1, 2, … up to half of its largest value."""
    ways = [1] + [0] * (rounds * (rounds + 1) // 4)
    for rank in range(1, rounds + 1):
        for place in range(len(ways) - 1, rank - 1, -1):
            ways[place] += ways[place - rank]
    return ways

"""How much larger one sample is than another that it is not paired with: the Mann-Whitney U test, turned around.

n and m are the sizes of the samples, U the number of pairs in which the second value is the smaller one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from levit_benchmarks.bench.statistics import INTERVAL_CONFIDENCE

# Beyond so many pairs the normal approximation of U is as good as the exact distribution.
MOST_EXACT_PAIRS = 4000


def ratio_interval(first: Sequence[float], second: Sequence[float]) -> tuple[float, float] | None:
    """Every factor between `first` and `second` that the U test does not rule out, with 95 % confidence at least.

    It excludes 1 just where the test tells the samples apart. None where they are too few for that: 4 and 4 are enough.
    From the k-th smallest to the k-th largest ratio of all pairs, with the largest k for which P(U < k) <= 2.5 %. Exact
    where the samples differ by a factor, whatever their distribution; values must be above 0.
    """
    ratios = np.sort(np.divide.outer(np.asarray(second, np.float64), np.asarray(first, np.float64)), axis=None)
    rank = _rank(len(first), len(second))
    return (float(ratios[rank - 1]), float(ratios[-rank])) if rank else None


def _rank(n: int, m: int) -> int:
    """The largest k with P(U < k) <= 2.5 % where nothing differs."""
    beyond = (1 - INTERVAL_CONFIDENCE) / 2
    if n * m > MOST_EXACT_PAIRS:
        return max(0, math.floor(NormalDist(n * m / 2, math.sqrt(n * m * (n + m + 1) / 12)).inv_cdf(beyond)))
    allowed, rank, reached = beyond * math.comb(n + m, n), 0, 0
    for ways in _ways(n, m):
        reached += ways
        if reached > allowed:
            break
        rank += 1
    return rank


def _ways(n: int, m: int) -> list[int]:
    """In how many of the orders of n + m values U is 0, 1, 2, … up to half of its largest value.

    Coefficients of the Gaussian binomial, the product of (1 - x^(m+i)) / (1 - x^i) for i from 1 to n.
    """
    ways = [1] + [0] * (n * m // 2)
    for i in range(1, n + 1):
        for place in range(len(ways) - 1, m + i - 1, -1):
            ways[place] -= ways[place - m - i]
        for place in range(i, len(ways)):
            ways[place] += ways[place - i]
    return ways

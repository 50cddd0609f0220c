"""Exact and score intervals of shares and of paired differences, and the exact test of flips.

n images; of two classifiers, `lost` is how many images only the first has right, `gained` how many only the second has.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

CONFIDENCE = 0.95
_BISECTIONS = 60


def share_interval(count: int, total: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The exact interval of a share of which `count` of `total` were seen.

    Source: Clopper and Pearson, "The Use of Confidence or Fiducial Limits", Biometrika 26, 1934.
    """
    tail = (1 - confidence) / 2
    low = 0.0 if count == 0 else _crossing(lambda share: binomial_tail(count, total, share) < tail)
    high = 1.0 if count == total else _crossing(lambda share: 1 - binomial_tail(count + 1, total, share) > tail)
    return low, high


def binomial_tail(least: int, total: int, share: float) -> float:
    """P(X >= least) of a binomial X; the smaller of the two tails is added up, so that its digits are right."""
    if least <= 0:
        return 1.0
    if least > total:
        return 0.0
    if share <= 0 or share >= 1:
        return float(share >= 1)
    if least > total * share:
        return _probability_between(least, total, total, share)
    return 1 - _probability_between(0, least - 1, total, share)


def _probability_between(first: int, last: int, total: int, share: float) -> float:
    """P(first <= X <= last), from the term that is largest there, outwards until terms no longer count."""
    mode = min(max(math.floor((total + 1) * share), first), last)
    logarithm = (
        math.lgamma(total + 1)
        - math.lgamma(mode + 1)
        - math.lgamma(total - mode + 1)
        + mode * math.log(share)
        + (total - mode) * math.log1p(-share)
    )
    odds = share / (1 - share)
    added = 1.0
    term = 1.0
    for value in range(mode, last):
        term *= (total - value) / (value + 1) * odds
        added += term
        if term < 1e-18 * added:
            break
    term = 1.0
    for value in range(mode, first, -1):
        term *= value / (total - value + 1) / odds
        added += term
        if term < 1e-18 * added:
            break
    return min(1.0, math.exp(logarithm) * added)


def flips_p_value(lost: int, gained: int) -> float:
    """How often equals differ by as many flips or more, in either direction: the exact test of McNemar."""
    flips, most = lost + gained, max(lost, gained)
    return 1.0 if flips == 0 else min(1.0, 2 * binomial_tail(most, flips, 0.5))


def drop_interval(lost: int, gained: int, total: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Every drop of a share, from -1 to 1, that the score test on paired images does not rule out.

    Source: Tango, "Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design", Statistics in Medicine 17, 1998.
    """
    limit = NormalDist().inv_cdf((1 + confidence) / 2)
    low = _crossing(lambda drop: _score(lost, gained, total, drop) > limit, -1.0)
    high = _crossing(lambda drop: _score(lost, gained, total, drop) > -limit, -1.0)
    return low, high


def _score(lost: int, gained: int, total: int, drop: float) -> float:
    """How many deviations the seen drop is above `drop`; falls as `drop` grows."""
    a = 2 * total
    b = -lost - gained + (2 * total - lost + gained) * drop
    c = -gained * drop * (1 - drop)
    only_second = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)
    variance = total * (2 * only_second + drop * (1 - drop))
    difference = lost - gained - total * drop
    if variance <= 0:
        return math.copysign(math.inf, difference) if difference else 0.0
    return difference / math.sqrt(variance)


def images_needed(lost: int, gained: int, total: int, allowed: float) -> int | None:
    """How many more images would probably settle whether the drop is above `allowed`; None where no number would.

    Half of the interval shrinks as the root of the images; it has to fit between the drop that was seen and `allowed`.
    """
    drop, flipped = (lost - gained) / total, (lost + gained) / total
    distance = abs(allowed - drop)
    if distance == 0:
        return None
    limit = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    # Where no flip was seen yet, as many as 3 in all images are still likely.
    variance = max(flipped, 3 / total) - drop * drop
    return max(1, math.ceil(limit * limit * variance / distance**2) - total)


def _crossing(is_below: Callable[[float], bool], low: float = 0.0) -> float:
    """Where `is_below`, true at `low` and false at 1, turns."""
    high = 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if is_below(middle) else (low, middle)
    return (low + high) / 2

"""Intervals and verdicts of accuracies: against scipy, cases worked out by hand, and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, stats

from levit_engines.evaluation.outcome import (
    CANNOT_TELL,
    KEPT,
    LOST,
    Accuracy,
    Outcome,
    compare_paired,
    compare_published,
)
from levit_engines.evaluation.statistics import (
    binomial_tail,
    drop_interval,
    flips_p_value,
    images_needed,
    share_interval,
)

SIMULATIONS = 2000
RIGHT, WRONG = Outcome(best=3, rank=0), Outcome(best=1, rank=7)


@pytest.mark.parametrize(
    ("count", "total"), [(0, 1), (1, 1), (0, 50), (50, 50), (7, 50), (41_000, 50_000), (49_999, 50_000)]
)
def test_intervals_of_shares_are_those_of_scipy(count: int, total: int) -> None:
    expected = stats.binomtest(count, total).proportion_ci(method="exact")
    assert share_interval(count, total) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(
    ("least", "total", "share"),
    [(0, 5, 0.3), (6, 5, 0.3), (3, 5, 0.0), (3, 5, 1.0), (2, 7, 0.25), (900, 1000, 0.8), (25_100, 50_000, 0.5)],
)
def test_binomial_tails_are_those_of_scipy(least: int, total: int, share: float) -> None:
    assert binomial_tail(least, total, share) == pytest.approx(stats.binom.sf(least - 1, total, share), rel=1e-9)


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (1, 0), (5, 5), (3, 12), (12, 3), (80, 41)])
def test_flips_are_tested_as_scipy_does(lost: int, gained: int) -> None:
    expected = stats.binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
    assert flips_p_value(lost, gained) == pytest.approx(expected)


@pytest.mark.parametrize(("lost", "gained", "total"), [(1, 7, 43), (4, 4, 100), (12, 2, 60), (30, 5, 1000)])
def test_at_the_ends_of_a_drop_the_score_is_just_significant(lost: int, gained: int, total: int) -> None:
    """Tango's score, with the likelihood maximised by a search and not by his formula."""
    for drop in drop_interval(lost, gained, total):

        def unlikeliness(only_second: float, drop: float = drop) -> float:
            only_first = only_second + drop
            same = 1 - only_first - only_second
            return -float(
                stats.multinomial.logpmf([lost, gained, total - lost - gained], total, [only_first, only_second, same])
            )

        bounds = (max(0.0, -drop) + 1e-12, (1 - drop) / 2 - 1e-12)
        found = optimize.minimize_scalar(unlikeliness, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x
        deviation = math.sqrt((2 * found + drop - drop * drop) / total)
        assert abs((lost - gained) / total - drop) / deviation == pytest.approx(stats.norm.ppf(0.975), rel=1e-3)


def test_without_a_flip_the_interval_is_that_of_a_share_of_none() -> None:
    low, high = drop_interval(0, 0, 32)
    squared = stats.norm.ppf(0.975) ** 2
    assert (low, high) == pytest.approx((-squared / (32 + squared), squared / (32 + squared)), abs=1e-9)


@pytest.mark.parametrize(("lost", "gained", "total"), [(0, 0, 10), (4, 4, 100), (9, 2, 60), (30, 30, 60), (60, 0, 60)])
def test_an_interval_holds_the_drop_and_turns_around_with_it(lost: int, gained: int, total: int) -> None:
    low, high = drop_interval(lost, gained, total)
    assert -1 <= low <= (lost - gained) / total <= high <= 1
    assert drop_interval(gained, lost, total) == pytest.approx((-high, -low), abs=1e-9)


@pytest.mark.parametrize(
    ("total", "lost", "gained"), [(100, 0.05, 0.05), (300, 0.02, 0.01), (1000, 0.004, 0.001), (2000, 0.1, 0.05)]
)
def test_intervals_hold_the_true_drop_as_often_as_they_say(total: int, lost: float, gained: float) -> None:
    generator = np.random.default_rng(total)
    draws = generator.multinomial(total, (lost, gained, 1 - lost - gained), SIMULATIONS)
    held = sum(low <= lost - gained <= high for low, high in (drop_interval(a, b, total) for a, b, _ in draws.tolist()))
    assert 0.93 <= held / SIMULATIONS <= 0.985


def test_as_many_images_as_are_said_to_be_needed_do_settle_it() -> None:
    """A drop of 0.2 points with 1 % flips against an allowance of 0.8: decided nine times in ten with what is asked."""
    generator = np.random.default_rng(3)
    lost, gained, allowed = 0.006, 0.004, 0.008
    more = images_needed(6, 4, 1000, allowed)
    assert more is not None
    total = 1000 + more
    draws = generator.multinomial(2 * total, (lost, gained, 1 - lost - gained), 300)
    decided = sum(drop_interval(a, b, 2 * total)[1] <= allowed for a, b, _ in draws.tolist())
    assert decided >= 0.7 * 300
    assert images_needed(8, 0, 1000, 0.008) is None
    assert images_needed(0, 0, 100_000, 0.008) == 1


def outcomes(right: int, wrong: int) -> list[Outcome]:
    return [RIGHT] * right + [WRONG] * wrong


def test_verdicts() -> None:
    reference = outcomes(8000, 2000)
    kept = compare_paired(outcomes(7990, 2010), reference, name="fp32", budget=0.01)
    assert (kept.verdict, kept.lost, kept.gained, kept.flips) == (KEPT, 10, 0, 10)
    assert kept.drop == pytest.approx(0.001)
    assert kept.allowed == pytest.approx(0.008)
    lost = compare_paired(outcomes(7000, 3000), reference, name="fp32", budget=0.01)
    assert (lost.verdict, lost.images_needed) == (LOST, None)
    unclear = compare_paired(outcomes(78, 22), outcomes(80, 20), name="fp32", budget=0.01)
    assert unclear.verdict == CANNOT_TELL
    assert unclear.images_needed is not None
    assert "more images are needed" in unclear.sentence()
    just_so = compare_paired(outcomes(7920, 2080), reference, name="fp32", budget=0.01)
    assert (just_so.verdict, just_so.images_needed) == (CANNOT_TELL, None)
    assert "no number of images would tell" in just_so.sentence()


def test_against_a_published_figure_nothing_is_paired() -> None:
    found = compare_published(outcomes(41_300, 8_700), published_top1=0.826, name="the paper", budget=0.01)
    assert (found.verdict, found.lost, found.flips) == (KEPT, None, None)
    assert compare_published(outcomes(30_000, 20_000), published_top1=0.826, name="x", budget=0.01).verdict == LOST
    few = compare_published(outcomes(83, 17), published_top1=0.826, name="x", budget=0.01)
    assert few.verdict == CANNOT_TELL
    assert few.images_needed is not None
    assert few.images_needed > 1000


def test_accuracy_counts_first_and_first_five() -> None:
    ranks = [0, 0, 1, 4, 5, 999]
    accuracy = Accuracy.of([Outcome(best=0, rank=rank) for rank in ranks])
    assert (accuracy.total, accuracy.top1, accuracy.top5) == (6, 2, 4)
    assert accuracy.to_json()["top5"]["share"] == pytest.approx(4 / 6)

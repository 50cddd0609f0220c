"""Percentiles that the count carries, intervals, and how often verdicts are wrong when nothing differs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from levit_benchmarks.bench.paired import paired_interval
from levit_benchmarks.bench.statistics import carried_percentiles, fewest_samples, median_interval, relative_spread
from levit_benchmarks.bench.summary import CANNOT_TELL, FASTER, SLOWER, verdict_on

SIMULATIONS = 2000


@pytest.mark.parametrize(("percentile", "fewest"), [(50, 11), (90, 64), (99, 662), (99.9, 6636)])
def test_a_percentile_needs_as_many_samples_as_the_binomial_law_says(percentile, fewest):
    assert fewest_samples(percentile) == fewest
    assert stats.binom.cdf(1, fewest, 1 - percentile / 100) <= 0.01
    assert stats.binom.cdf(1, fewest - 1, 1 - percentile / 100) > 0.01


@pytest.mark.parametrize(
    ("count", "carried"),
    [(10, set()), (63, {50}), (64, {50, 90}), (661, {50, 90}), (662, {50, 90, 99}), (6636, {50, 90, 99, 99.9})],
)
def test_only_carried_percentiles_are_given(count, carried):
    assert set(carried_percentiles(range(count))) == carried


def test_a_percentile_is_the_sample_of_its_rank():
    samples = list(range(1, 101))[::-1]
    assert carried_percentiles(samples) == {50: 50, 90: 90}


@pytest.mark.parametrize("count", [6, 7, 10, 15, 20, 21, 60, 1001])
def test_the_interval_of_a_median_is_that_of_scipy(count):
    samples = np.random.default_rng(count).normal(size=count)
    expected = stats.quantile_test(samples, q=0.0, p=0.5).confidence_interval(confidence_level=0.95)
    assert median_interval(samples.tolist()) == (expected.low, expected.high)


@pytest.mark.parametrize("count", [6, 7, 10, 20, 41, 100])
def test_the_interval_of_a_ratio_holds_just_what_the_signed_rank_test_of_scipy_does_not_rule_out(count):
    logarithms = np.random.default_rng(count).normal(0.03, 0.05, size=count)
    low, high = np.log(paired_interval(np.exp(logarithms).tolist()))

    def p_value(factor):
        return stats.wilcoxon(logarithms - factor, method="exact").pvalue

    assert p_value(low - 1e-9) <= 0.05 < p_value(low + 1e-9)
    assert p_value(high + 1e-9) <= 0.05 < p_value(high - 1e-9)


@pytest.mark.parametrize("count", [101, 250])
def test_of_many_rounds_the_interval_is_nearly_that_of_the_exact_test(count):
    logarithms = np.random.default_rng(count).normal(0.03, 0.05, size=count)
    for end in np.log(paired_interval(np.exp(logarithms).tolist())):
        assert stats.wilcoxon(logarithms - end, method="exact").pvalue == pytest.approx(0.05, abs=0.002)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_too_few_samples_have_no_interval_and_no_verdict(count):
    assert median_interval([1.0] * count) is None
    assert paired_interval([1.0] * count) is None
    verdict = verdict_on([3.0] * count)
    assert (verdict.outcome, verdict.ratio, verdict.rounds) == (CANNOT_TELL, 3.0, count)


def test_spread_is_the_middle_half_over_the_median():
    assert relative_spread([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(2 / 3)
    assert relative_spread([7.0]) == 0


@pytest.mark.parametrize(
    ("ratio", "outcome"), [(1.009, CANNOT_TELL), (1.012, SLOWER), (0.991, CANNOT_TELL), (0.988, FASTER)]
)
def test_negligible_differences_are_not_called(ratio, outcome):
    assert verdict_on([ratio] * 20).outcome == outcome


def test_verdicts_name_the_direction():
    rounds = [0.8, 0.9, 0.85, 0.82, 0.88, 0.84, 0.86]
    assert verdict_on(rounds).outcome == FASTER
    assert verdict_on([1 / ratio for ratio in rounds]).outcome == SLOWER
    assert verdict_on([*rounds, *(1 / ratio for ratio in rounds)]).outcome == CANNOT_TELL


def heavy_tails(generator, size):
    """Log ratios of two equals: noise without a variance."""
    return 0.03 * generator.standard_t(1.5, size)


def bursts_of_load(generator, size):
    """Log ratios of two equals, where something else runs in a third of the rounds, beside one of them."""
    load = (generator.random(size) < 1 / 3) * generator.choice([-1, 1], size) * generator.exponential(0.4, size)
    return 0.02 * generator.normal(size=size) + load


def other_memory(generator, size):
    """Log ratios on a quiet machine, where two processes of one engine differ by what all rounds have in common."""
    return 0.004 * generator.normal(size=(size[0], 1)) + 0.002 * generator.normal(size=size)


def noisy_cores(generator, size):
    """Log ratios as on the crowded machine of two cores that this was written on."""
    return 0.055 * generator.normal(size=size)


@pytest.mark.parametrize("noise", [heavy_tails, bursts_of_load, other_memory, noisy_cores])
@pytest.mark.parametrize("rounds", [6, 9, 20, 40])
def test_equals_are_told_apart_at_most_one_time_in_twenty(noise, rounds):
    ratios = np.exp(noise(np.random.default_rng(5), (SIMULATIONS, rounds)))
    false = sum(verdict_on(some).outcome != CANNOT_TELL for some in ratios.tolist())
    assert false <= 0.05 * SIMULATIONS


@pytest.mark.parametrize(("noise", "rounds"), [(heavy_tails, 40), (bursts_of_load, 60), (noisy_cores, 40)])
def test_a_slow_down_of_5_percent_is_found(noise, rounds):
    ratios = 1.05 * np.exp(noise(np.random.default_rng(6), (SIMULATIONS, rounds)))
    found = sum(verdict_on(some).outcome == SLOWER for some in ratios.tolist())
    assert found >= 0.95 * SIMULATIONS

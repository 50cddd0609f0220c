"""When samples show that a goal is met, when that it is missed, and when neither."""

import math

import pytest

from levit_benchmarks.bench.record import OFFLINE, SINGLE_STREAM, Burst
from levit_benchmarks.bench.statistics import fewest_samples
from levit_benchmarks.tune.goal import CANNOT_TELL, MEETS, MISSES, Goal, judge, judge_latency, judge_rate
from levit_deploy.errors import ConfigError


def burst(*latencies_ms, wall_ms=None):
    wall_ms = sum(latencies_ms) if wall_ms is None else wall_ms
    return Burst(latencies_ns=tuple(round(1e6 * one) for one in latencies_ms), wall_ns=round(1e6 * wall_ms), cpu_ns=1)


@pytest.mark.parametrize("percentile", [50.0, 90.0, 99.0])
def test_one_slow_call_needs_as_many_calls_as_carry_the_percentile(percentile):
    fewest = fewest_samples(percentile)
    assert judge_latency(1, fewest, percentile) == MEETS
    assert judge_latency(1, fewest - 1, percentile) == CANNOT_TELL


def test_a_share_of_slow_calls_that_is_just_allowed_is_neither():
    assert judge_latency(100, 1000, 90.0) == CANNOT_TELL
    assert judge_latency(70, 1000, 90.0) == MEETS
    assert judge_latency(130, 1000, 90.0) == MISSES
    assert judge_latency(10_000, 10_000, 99.0) == MISSES
    assert judge_latency(0, 0, 90.0) == CANNOT_TELL


@pytest.mark.parametrize(("slow", "calls"), [(0, 50), (3, 90), (12, 90), (40, 200)])
def test_the_binomial_law_is_the_one_of_whole_numbers(slow, calls):
    below = sum(math.comb(calls, k) * 1**k * 9 ** (calls - k) for k in range(slow + 1)) / 10**calls
    above = 1 - sum(math.comb(calls, k) * 1**k * 9 ** (calls - k) for k in range(slow)) / 10**calls
    expected = MEETS if below <= 0.01 else MISSES if slow and above <= 0.01 else CANNOT_TELL
    assert judge_latency(slow, calls, 90.0) == expected


def test_a_rate_is_decided_by_the_interval_of_its_rounds():
    rates = [90.0, 95.0, 100.0, 105.0, 110.0, 115.0]
    assert judge_rate(rates, 90.0) == MEETS
    assert judge_rate(rates, 100.0) == CANNOT_TELL
    assert judge_rate(rates, 120.0) == MISSES
    assert judge_rate(rates[:5], 1.0) == CANNOT_TELL  # five rounds have no interval


def test_all_that_is_wanted_has_to_be_met():
    quick = [burst(*[5.0] * 20)] * 10
    assert judge(Goal(max_latency_ms=6.0, min_images_per_s=150), quick, 1) == MEETS
    assert judge(Goal(max_latency_ms=6.0, min_images_per_s=250), quick, 1) == MISSES
    assert judge(Goal(max_latency_ms=6.0, min_images_per_s=250), quick, 2) == MEETS
    assert judge(Goal(max_latency_ms=4.0, min_images_per_s=150), quick, 1) == MISSES
    assert judge(Goal(min_top1=80), quick, 1) == MEETS


def test_the_scenario_follows_from_what_is_wanted():
    assert Goal(min_images_per_s=100, min_top1=80).scenario == OFFLINE
    assert Goal(min_images_per_s=100, max_latency_ms=5).scenario == SINGLE_STREAM
    assert Goal(min_top1=80).scenario == SINGLE_STREAM
    assert Goal(min_top1=80, max_latency_ms=20).text == (
        "published top-1 of 80 % or more, 90th percentile of the latency within 20 ms"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "nothing is wanted"),
        ({"max_latency_ms": 0.0}, "above 0"),
        ({"max_latency_ms": math.nan}, "above 0"),
        ({"min_images_per_s": math.inf}, "finite"),
        ({"max_latency_ms": 1.0, "percentile": 42.0}, "choose from 50, 90"),
    ],
)
def test_goals_that_mean_nothing_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        Goal(**changes)

"""What is wanted, and whether samples show that it is met: exact tests, so that "cannot tell" is an answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from levit_benchmarks.bench.figures import significant
from levit_benchmarks.bench.offline import images_per_s
from levit_benchmarks.bench.record import OFFLINE, SINGLE_STREAM, Burst
from levit_benchmarks.bench.statistics import PERCENTILE_CONFIDENCE, PERCENTILES, median_interval
from levit_deploy.errors import ConfigError
from levit_engines.evaluation.statistics import binomial_tail

MEETS, MISSES, CANNOT_TELL = "meets it", "misses it", "cannot tell"
DEFAULT_PERCENTILE = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """At least one of a published top-1 in percent, a latency that `percentile` of the calls keep, images a second."""

    min_top1: float | None = None
    max_latency_ms: float | None = None
    percentile: float = DEFAULT_PERCENTILE
    min_images_per_s: float | None = None

    def __post_init__(self) -> None:
        wanted = (self.min_top1, self.max_latency_ms, self.min_images_per_s)
        if wanted == (None, None, None):
            raise ConfigError("nothing is wanted: give --min-top1, --max-latency-ms or --min-images-per-second")
        if any(value is not None and not 0 < value < math.inf for value in wanted):
            raise ConfigError("--min-top1, --max-latency-ms and --min-images-per-second must be above 0, and finite")
        if self.percentile not in PERCENTILES:
            raise ConfigError(
                f"--percentile {self.percentile:g}: choose from {', '.join(f'{p:g}' for p in PERCENTILES)}"
            )

    @property
    def scenario(self) -> str:
        """Offline where images a second are all that is asked of the speed; else one call after the other."""
        return OFFLINE if self.max_latency_ms is None and self.min_images_per_s is not None else SINGLE_STREAM

    @property
    def limits_speed(self) -> bool:
        """Whether it says how fast is fast enough; if not, faster is better."""
        return self.max_latency_ms is not None or self.min_images_per_s is not None

    @property
    def text(self) -> str:
        """`published top-1 of 80 % or more, 90th percentile of the latency within 20 ms`."""
        parts = []
        if self.min_top1 is not None:
            parts.append(f"published top-1 of {self.min_top1:g} % or more")
        if self.max_latency_ms is not None:
            parts.append(f"{self.percentile:g}th percentile of the latency within {self.max_latency_ms:g} ms")
        if self.min_images_per_s is not None:
            parts.append(f"{self.min_images_per_s:g} images a second or more")
        return ", ".join(parts)


def judge(goal: Goal, bursts: Sequence[Burst], batch: int) -> str:
    """Whether the timed calls show that the goal's speed is met, that it is missed, or neither."""
    outcomes = []
    if goal.max_latency_ms is not None:
        calls = [latency for burst in bursts for latency in burst.latencies_ns]
        slow = sum(latency > goal.max_latency_ms * 1e6 for latency in calls)
        outcomes.append(judge_latency(slow, len(calls), goal.percentile))
    if goal.min_images_per_s is not None:
        outcomes.append(judge_rate([images_per_s([burst], batch) for burst in bursts], goal.min_images_per_s))
    if MISSES in outcomes:
        return MISSES
    return CANNOT_TELL if CANNOT_TELL in outcomes else MEETS


def judge_latency(slow: int, calls: int, percentile: float) -> str:
    """Whether a percentile is within a limit that `slow` of the calls exceeded, with 99 % confidence.

    It is when, were the share of slow calls just the one that the percentile allows, so few of them would be seen in
    1 % of all runs at most; it is not when so many would be. One slow call needs as many calls as
    `statistics.fewest_samples` says.
    """
    share = 1 - percentile / 100
    if 1 - binomial_tail(slow + 1, calls, share) <= 1 - PERCENTILE_CONFIDENCE:
        return MEETS
    if binomial_tail(slow, calls, share) <= 1 - PERCENTILE_CONFIDENCE:
        return MISSES
    return CANNOT_TELL


def judge_rate(rates: Sequence[float], wanted: float) -> str:
    """Whether the median of the rounds' rates reaches `wanted`: by its exact interval, which six rounds give."""
    interval = median_interval(rates)
    if interval is None or interval[0] < wanted <= interval[1]:
        return CANNOT_TELL
    return MEETS if interval[0] >= wanted else MISSES


def shortfall(goal: Goal, latency_ms: float, rate: float) -> float:
    """How many times too slow: 1 and below is fast enough; 0 where no speed is asked for."""
    latency = 0.0 if goal.max_latency_ms is None else latency_ms / goal.max_latency_ms
    return max(latency, 0.0 if goal.min_images_per_s is None else goal.min_images_per_s / rate)


def shortfall_text(goal: Goal, latency_ms: float, rate: float) -> str:
    """What was measured beside what is wanted."""
    parts = []
    if goal.max_latency_ms is not None:
        parts.append(f"{significant(latency_ms)} ms where {goal.max_latency_ms:g} ms are allowed")
    if goal.min_images_per_s is not None:
        parts.append(f"{significant(rate)} images/s where {goal.min_images_per_s:g} are wanted")
    return ", ".join(parts)

"""What was measured of each option, and what follows: the frontier, the choice, the nearest miss."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from levit_benchmarks.bench.offline import images_per_s
from levit_benchmarks.bench.record import OFFLINE, Burst
from levit_benchmarks.bench.statistics import carried_percentiles
from levit_benchmarks.tune.goal import MEETS, MISSES, Goal, judge, shortfall
from levit_benchmarks.tune.option import Option


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One option, measured: screened in one burst, or confirmed in rounds, in turn with others.

    `percentiles_ms` are of a call, and only those that the count carries; `outcome` is one of goal.MEETS, MISSES and
    CANNOT_TELL, and None of a screening, which decides nothing. `opening_s` is what opening it took, warm-up included.
    """

    option: Option
    confirmed: bool
    count: int
    median_ms: float
    percentiles_ms: dict[float, float]
    images_per_s: float
    outcome: str | None
    opening_s: float

    @property
    def image_ms(self) -> float:
        """What an image takes, over all sessions."""
        return 1e3 / self.images_per_s

    def cost_ms(self, goal: Goal) -> float:
        """By what it is ranked: the median latency of a call, or offline the time an image takes."""
        return self.image_ms if goal.scenario == OFFLINE else self.median_ms

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {
            **self.option.to_json(),
            "confirmed": self.confirmed,
            "calls": self.count,
            "median_ms": self.median_ms,
            "percentiles_ms": {f"{name:g}": value for name, value in self.percentiles_ms.items()},
            "images_per_s": self.images_per_s,
            "outcome": self.outcome,
        }


def finding(option: Option, bursts: Sequence[Burst], goal: Goal, *, confirmed: bool, opening_s: float = 0.0) -> Finding:
    """What the timed calls of an option show."""
    latencies = [latency for burst in bursts for latency in burst.latencies_ns]
    return Finding(
        option=option,
        confirmed=confirmed,
        count=len(latencies),
        median_ms=median(latencies) / 1e6,
        percentiles_ms={name: ns / 1e6 for name, ns in carried_percentiles(latencies).items()},
        images_per_s=images_per_s(bursts, option.batch),
        outcome=judge(goal, bursts, option.batch) if confirmed else None,
        opening_s=opening_s,
    )


def best_known(screened: Iterable[Finding], confirmed: Iterable[Finding]) -> tuple[Finding, ...]:
    """One finding for each option: the confirmed one where there is one."""
    return tuple(({one.option.name: one for one in screened} | {one.option.name: one for one in confirmed}).values())


def frontier(found: Iterable[Finding], goal: Goal) -> tuple[Finding, ...]:
    """Those that no other dominates in published top-1 and speed, the fastest first; unknown top-1 never is on it."""
    known = [(one.option.top1, one.cost_ms(goal), one) for one in found if one.option.top1 is not None]
    kept: list[Finding] = []
    best = 0.0
    for top1, _, one in sorted(known, key=lambda entry: (entry[1], -entry[0])):
        if top1 > best:
            kept.append(one)
            best = top1
    return tuple(kept)


def choose(confirmed: Iterable[Finding], goal: Goal) -> Finding | None:
    """The answer: of what is shown to meet the goal, the most accurate, and of that the fastest.

    Where the goal leaves the speed open, the fastest.
    """
    meeting = [one for one in confirmed if one.outcome == MEETS]
    if not meeting:
        return None
    return min(meeting, key=lambda one: (-(one.option.top1 or 0.0) if goal.limits_speed else 0.0, one.cost_ms(goal)))


def nearest_miss(found: Iterable[Finding], goal: Goal) -> Finding:
    """What comes closest to the goal's speed; an undecided one is closer than any that misses it."""
    return min(
        found,
        key=lambda one: (
            not one.confirmed,
            one.outcome == MISSES,
            shortfall(goal, latency_ms(one, goal), one.images_per_s),
        ),
    )


def latency_ms(one: Finding, goal: Goal) -> float:
    """The goal's percentile where the count carries it, else the median."""
    return one.percentiles_ms.get(goal.percentile, one.median_ms)

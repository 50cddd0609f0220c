"""How the time is spent: which options are measured again, in how many rounds of what length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from levit_benchmarks.bench.rounds import WAKE_UP_CALLS, WAKE_UP_S, BurstLength
from levit_benchmarks.bench.statistics import fewest_samples
from levit_benchmarks.tune.finding import Finding
from levit_benchmarks.tune.goal import Goal, shortfall

SCREENING_SHARE = 0.6
"""Of the budget; what was not screened by then is left out, and said to be."""
SCREENING_BURST = BurstLength(seconds=0.3, count=fewest_samples(50.0))
CONFIRMING_S = 0.5
FEWEST_ROUNDS, MOST_ROUNDS = 6, 20
"""Fewer than six rounds give no interval."""
MOST_FINALISTS = 8
HOPELESS = 1.25
"""An option whose screening was so many times too slow is not measured again."""
CLOSE = 1.25
"""The second best option of a network is, when its screening was not slower than that beside the best."""
_SIGNAL_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The finalists, most important first, and the rounds in which they take turns; about `seconds` in all."""

    finalists: tuple[Finding, ...]
    rounds: int
    burst: BurstLength
    seconds: float


def finalists(screened: Sequence[Finding], goal: Goal) -> tuple[Finding, ...]:
    """What is worth to be measured again, most important first: the best option of each network that may meet the goal.

    Then the second best, where it is close. Where none may meet it, the one that misses it least.
    """
    possible = [one for one in screened if shortfall(goal, one.median_ms, one.images_per_s) <= HOPELESS]
    if not possible:
        nearest = min(screened, key=lambda one: shortfall(goal, one.median_ms, one.images_per_s))
        return (nearest,)
    best: list[Finding] = []
    second: list[Finding] = []
    for rivals in _by_network(possible):
        ordered = sorted(rivals, key=lambda one: one.cost_ms(goal))
        best.append(ordered[0])
        second += [one for one in ordered[1:2] if one.cost_ms(goal) <= CLOSE * ordered[0].cost_ms(goal)]
    return tuple([*_ranked(best, goal), *_ranked(second, goal)][:MOST_FINALISTS])


def plan_rounds(chosen: Sequence[Finding], goal: Goal, *, seconds: float) -> Plan:
    """As many of `chosen` as fit into `seconds`, and then as many rounds; at least one of them, and FEWEST_ROUNDS.

    Each has so many calls that the goal's percentile can be told.
    """
    for kept in range(len(chosen), 0, -1):
        for rounds in range(MOST_ROUNDS, FEWEST_ROUNDS - 1, -1):
            plan = _plan(chosen[:kept], goal, rounds)
            if plan.seconds <= seconds:
                return plan
    return _plan(chosen[:1], goal, FEWEST_ROUNDS)


def _plan(chosen: Sequence[Finding], goal: Goal, rounds: int) -> Plan:
    burst = BurstLength(seconds=CONFIRMING_S, count=math.ceil(fewest_samples(goal.percentile) / rounds))
    round_s = sum(
        max(burst.seconds, burst.count * one.median_ms / 1e3)
        + max(WAKE_UP_S, WAKE_UP_CALLS * one.median_ms / 1e3)
        + _SIGNAL_S
        for one in chosen
    )
    seconds = sum(one.opening_s for one in chosen) + rounds * round_s
    return Plan(finalists=tuple(chosen), rounds=rounds, burst=burst, seconds=seconds)


def _by_network(found: Sequence[Finding]) -> list[list[Finding]]:
    networks: dict[tuple[str, str], list[Finding]] = {}
    for one in found:
        networks.setdefault((one.option.network, one.option.precision), []).append(one)
    return list(networks.values())


def _ranked(found: Sequence[Finding], goal: Goal) -> list[Finding]:
    """The most accurate first where the goal says how fast is fast enough, else the fastest."""
    return sorted(found, key=lambda one: (-(one.option.top1 or 0.0) if goal.limits_speed else 0.0, one.cost_ms(goal)))

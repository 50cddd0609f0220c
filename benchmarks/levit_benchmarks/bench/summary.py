"""What follows from a group's samples: percentiles that the count carries, throughput, verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from statistics import median

from levit_benchmarks.bench.paired import paired_interval
from levit_benchmarks.bench.record import OFFLINE, Burst, Group, MachineLimit
from levit_benchmarks.bench.statistics import carried_percentiles, relative_spread

FASTER, SLOWER, CANNOT_TELL = "faster", "slower", "cannot tell"
NEGLIGIBLE = 0.01
"""Differences up to this share are never called: two processes of the very same engine have their memory laid out
differently, and all rounds of a run have that in common."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A candidate against another: the median of the rounds' ratios of time, and the 95 % interval of the factor.

    Below 1 the candidate takes less time. `outcome` is FASTER, SLOWER or CANNOT_TELL; that it is one of the first two
    takes an interval that lies beyond NEGLIGIBLE.
    """

    ratio: float
    low: float
    high: float
    rounds: int
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateSummary:
    """One row of a table. `percentiles_ms` holds only percentiles that the count carries: {50: …, 90: …, 99: …}.

    `gpu_p50_ms` is the median of what the GPU itself took for a call, None where no engine told.
    `round_spread` is the interquartile range of the rounds' medians over their median. `share_of_limit` is the time
    that the MACs would take at the measured peak, over the time taken; None where MACs or peak are unknown. `verdict`
    is None for the baseline itself.
    """

    name: str
    count: int
    percentiles_ms: Mapping[float, float]
    gpu_p50_ms: float | None
    images_per_s: float
    cpu_s_per_image: float
    peak_rss_bytes: int
    round_spread: float
    share_of_limit: float | None
    verdict: Verdict | None


def summarize(group: Group, limits: Sequence[MachineLimit]) -> tuple[CandidateSummary, ...]:
    """One row for each candidate of `group`, in its order; `limits` are those that the run measured."""
    return tuple(_summary(group, index, limits) for index in range(len(group.candidates)))


def verdict_on(ratios: Sequence[float]) -> Verdict:
    """The verdict on paired ratios of time, one a round."""
    centre, interval = median(ratios), paired_interval(ratios)
    low, high = (min(ratios), max(ratios)) if interval is None else interval
    outcome = CANNOT_TELL
    if interval is not None and high < 1 / (1 + NEGLIGIBLE):
        outcome = FASTER
    elif interval is not None and low > 1 + NEGLIGIBLE:
        outcome = SLOWER
    return Verdict(ratio=centre, low=low, high=high, rounds=len(ratios), outcome=outcome)


def pair_verdicts(group: Group) -> dict[tuple[str, str], Verdict]:
    """The verdict on the first of each pair of candidates against the second, in both orders."""
    times_s = {candidate.name: round_times_s(group, candidate.name) for candidate in group.candidates}
    return {
        (name, other): verdict_on([mine / theirs for mine, theirs in zip(times_s[name], times_s[other], strict=True)])
        for name, other in permutations(times_s, 2)
    }


def round_times_s(group: Group, name: str) -> list[float]:
    """What one image took in each round of a candidate."""
    return [image_time_s(one.bursts[name], scenario=group.scenario, batch=group.batch) for one in group.rounds]


def image_time_s(burst: Burst, *, scenario: str, batch: int) -> float:
    """What one image took: the median call's share, or, offline, that of the whole burst."""
    if scenario == OFFLINE:
        return burst.wall_ns / 1e9 / (len(burst.latencies_ns) * batch)
    return median(burst.latencies_ns) / 1e9 / batch


def _summary(group: Group, index: int, limits: Sequence[MachineLimit]) -> CandidateSummary:
    candidate = group.candidates[index]
    bursts = [one.bursts[candidate.name] for one in group.rounds]
    latencies = [latency for burst in bursts for latency in burst.latencies_ns]
    gpu_p50_ns = carried_percentiles([gpu_ns for burst in bursts for gpu_ns in burst.gpu_ns]).get(50)
    images = len(latencies) * group.batch
    times_s, baseline_s = (round_times_s(group, name) for name in (candidate.name, group.baseline))
    peak = None
    if candidate.details.get("device", "cpu") == "cpu":  # no other device's peak is measured
        peak = next((limit.flops.get(candidate.precision) for limit in limits if limit.threads == group.threads), None)
    share = None if peak is None or candidate.macs is None else 2 * candidate.macs / peak / median(times_s)
    return CandidateSummary(
        name=candidate.name,
        count=len(latencies),
        percentiles_ms={name: ns / 1e6 for name, ns in carried_percentiles(latencies).items()},
        gpu_p50_ms=None if gpu_p50_ns is None else gpu_p50_ns / 1e6,
        images_per_s=images / (sum(burst.wall_ns for burst in bursts) / 1e9),
        cpu_s_per_image=sum(burst.cpu_ns for burst in bursts) / 1e9 / images,
        peak_rss_bytes=group.peak_rss_bytes[candidate.name],
        round_spread=relative_spread(times_s),
        share_of_limit=share,
        verdict=None
        if candidate.name == group.baseline
        else verdict_on([mine / theirs for mine, theirs in zip(times_s, baseline_s, strict=True)]),
    )

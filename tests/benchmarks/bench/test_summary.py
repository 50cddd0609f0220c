"""What follows from made-up samples, computed by hand."""

from __future__ import annotations

import pytest

from levit_benchmarks.bench.record import (
    OFFLINE,
    SINGLE_STREAM,
    Burst,
    Candidate,
    Conditions,
    Group,
    MachineLimit,
    Round,
    Sessions,
)
from levit_benchmarks.bench.summary import SLOWER, summarize

QUIET = Conditions(load_average=0.0, steal=0.0, other_load=0.0, frequency_mhz=None)
MS = 1_000_000
LIMITS = (
    MachineLimit(threads=1, flops={"fp32": 5e10}, bytes_s=1e10, method={}),
    MachineLimit(threads=2, flops={"fp32": 1e11}, bytes_s=1e10, method={}),
)


def candidate(name, **changes):
    fields = {
        "name": name,
        "network": "LeViT-128S",
        "engine": "e",
        "engine_version": "1",
        "precision": "fp32",
        "image_size": 224,
        "macs": 100_000_000,
        "timed_sha256": "0" * 64,
        "checked": "yes",
        "details": {},
    }
    return Candidate(**{**fields, **changes})


def group(times_ms, scenario=SINGLE_STREAM, batch=1, **changes):
    """Every candidate's latencies by round; the wall is their sum and the CPU time twice that."""
    count = len(next(iter(times_ms.values())))
    rounds = tuple(
        Round(
            bursts={
                name: Burst(
                    latencies_ns=tuple(ms * MS for ms in rounds_ms[number]),
                    wall_ns=sum(rounds_ms[number]) * MS,
                    cpu_ns=2 * sum(rounds_ms[number]) * MS,
                )
                for name, rounds_ms in times_ms.items()
            },
            conditions=QUIET,
        )
        for number in range(count)
    )
    fields = {
        "scenario": scenario,
        "batch": batch,
        "threads": 2,
        "baseline": next(iter(times_ms)),
        "candidates": tuple(candidate(name) for name in times_ms),
        "sessions": dict.fromkeys(times_ms, Sessions(sessions=1, threads=2)),
        "peak_rss_bytes": dict.fromkeys(times_ms, 7),
        "rounds": rounds,
    }
    return Group(**{**fields, **changes})


def test_figures_of_a_candidate():
    (row,) = summarize(group({"a": [(4, 4, 10)] * 4}, batch=2), LIMITS)
    assert (row.name, row.count, row.peak_rss_bytes, row.verdict) == ("a", 12, 7, None)
    assert row.percentiles_ms == {50: 4}
    assert row.images_per_s == pytest.approx(24 / 0.072)
    assert row.cpu_s_per_image == pytest.approx(2 * 0.072 / 24)
    # 2e8 operations at 1e11 a second take 2 ms; one image of the median call took 2 ms.
    assert row.share_of_limit == pytest.approx(1.0)


def test_the_median_call_counts_offline_the_whole_burst():
    times = {"a": [(2, 2, 2)] * 6, "b": [(2, 2, 20)] * 6}
    single = summarize(group(times), LIMITS)[1].verdict
    offline = summarize(group(times, scenario=OFFLINE), LIMITS)[1].verdict
    assert single.ratio == 1
    assert (offline.ratio, offline.outcome) == (pytest.approx(4), SLOWER)


def test_ratios_are_paired_within_a_round():
    # Medians over all rounds are equal, but in every round b takes 10 % longer.
    baseline = [10, 20, 30, 40, 50, 60, 70]
    times = {"a": [(ms,) for ms in baseline], "b": [(ms + ms // 10,) for ms in baseline]}
    verdict = summarize(group(times), LIMITS)[1].verdict
    assert (verdict.ratio, verdict.low, verdict.high) == (pytest.approx(1.1),) * 3
    assert (verdict.outcome, verdict.rounds) == (SLOWER, 7)


def test_spread_is_that_of_the_rounds_not_of_the_calls():
    (row,) = summarize(group({"a": [(1, 5, 9)] * 5}), LIMITS)
    assert row.round_spread == 0
    (row,) = summarize(group({"a": [(ms,) for ms in (1, 2, 3, 4, 5)]}), LIMITS)
    assert row.round_spread == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    "changes",
    [{"candidates": (candidate("a", macs=None),)}, {"candidates": (candidate("a", precision="int8"),)}, {"threads": 4}],
    ids=["no MACs", "no peak of the precision", "no peak of the threads"],
)
def test_no_share_where_the_limit_is_unknown(changes):
    (row,) = summarize(group({"a": [(1,)]}, **changes), LIMITS)
    assert row.share_of_limit is None


def test_no_percentile_of_few_calls():
    (row,) = summarize(group({"a": [(1,)] * 6}), LIMITS)
    assert row.percentiles_ms == {}

"""The order of turns, the clock of a burst, the choice of sessions, and what is said of the machine."""

from __future__ import annotations

import gc
import os
import time
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from levit_benchmarks.bench.conditions import ConditionsMeter, cpu_times, mean_frequency_mhz
from levit_benchmarks.bench.offline import open_best_crew
from levit_benchmarks.bench.record import Sessions
from levit_benchmarks.bench.rounds import BurstLength, Crew, turns
from levit_benchmarks.bench.sampling import run_calls

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
STATISTICS = """cpu  9 9 9 9 9 9 9 9 9 9
cpu0 100 10 50 800 5 3 2 30 40 0
cpu1 100 10 50 800 5 3 2 30 40 0
cpu2 999 0 0 0 0 0 0 999 0 0
intr 7
"""


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_everybody_has_every_place_and_every_neighbour_alike(count):
    names = tuple("abcde"[:count])
    rounds = [turns(names, number) for number in range(2 * count)]
    assert all(sorted(one) == sorted(names) for one in rounds)
    for place in range(count):
        assert set(Counter(one[place] for one in rounds).values()) == {2}
    followers = Counter(pair for one in rounds for pair in pairwise(one))
    assert all(followers[a, b] == followers[b, a] for a, b in followers)


def test_calls_go_on_until_both_time_and_count_are_reached():
    assert len(run_calls(lambda: None, seconds=1e-9, count=50).latencies_ns) == 50
    long = run_calls(lambda: time.sleep(0.001), seconds=0.05, count=1)
    assert long.end_ns - long.start_ns >= 50_000_000
    assert len(long.latencies_ns) > 1
    assert min(long.latencies_ns) >= 1_000_000


def test_callers_call_at_the_same_time():
    sample = run_calls(lambda: time.sleep(0.01), seconds=0.1, count=3, callers=4)
    assert len(sample.latencies_ns) >= 4 * 3
    assert sum(sample.latencies_ns) > 2 * (sample.end_ns - sample.start_ns)
    with pytest.raises(ZeroDivisionError):
        run_calls(lambda: 1 / 0, seconds=0, count=1, callers=2)
    assert gc.isenabled()


def test_no_garbage_is_collected_meanwhile_even_if_a_call_fails():
    collecting = []
    run_calls(lambda: collecting.append(gc.isenabled()), seconds=0, count=3)
    assert collecting == [False] * 3
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        run_calls(lambda: 1 / 0, seconds=0, count=1)
    assert gc.isenabled()


@pytest.mark.parametrize(
    ("one", "two", "chosen"),
    [("0.03", "0.001", Sessions(sessions=1, threads=2)), ("0.002", "0.03", Sessions(sessions=2, threads=1))],
)
def test_offline_takes_the_better_way_to_share_threads_out(fake_order, one, two, chosen):
    order = fake_order(what="sleep", **{"1 threads": one, "2 threads": two})
    with open_best_crew(replace(order, threads=2), BurstLength(seconds=0.02, count=2)) as crew:
        assert crew.sessions == chosen
        tried = crew.candidate.details["sessions"]
        assert "1 x 2 threads, " in tried
        assert "2 x 1 threads, " in tried


def test_offline_lets_several_callers_share_a_session_that_serves_them(fake_order):
    order = replace(fake_order(what="side by side", **{"1 threads": "0.002", "2 threads": "0.03"}), threads=2)
    with open_best_crew(order, BurstLength(seconds=0.02, count=2)) as crew:
        assert "; 1 x 1 threads with 2 callers, " in crew.candidate.details["sessions"]
        assert crew.sessions.busy_threads == 2
    with Crew(replace(order, threads=1), 1, callers=2) as crew:
        burst = crew.burst(BurstLength(seconds=0.2, count=2))
    # One after the other they would not have fitted into that time.
    assert len(burst.latencies_ns) * 2_000_000 > 1.5 * burst.wall_ns


def test_a_single_thread_leaves_nothing_to_choose(fake_order):
    with open_best_crew(fake_order(), BurstLength(seconds=0.01, count=1)) as crew:
        assert crew.sessions == Sessions(sessions=1, threads=1)
        assert "sessions" not in crew.candidate.details


def test_cpu_times_are_those_of_the_allowed_cpus(tmp_path):
    file = tmp_path / "stat"
    file.write_text(STATISTICS)
    times = cpu_times((0, 1), file)
    assert times.busy_s == pytest.approx(2 * 165 * TICK_S)
    assert times.stolen_s == pytest.approx(2 * 30 * TICK_S)
    assert times.total_s == pytest.approx(2 * 1000 * TICK_S)
    assert cpu_times((7,), file) is None
    assert cpu_times((0,), tmp_path / "absent") is None


def test_other_load_is_what_is_busy_less_our_own(tmp_path, monkeypatch):
    monkeypatch.setattr("levit_benchmarks.bench.conditions.allowed_cpus", lambda: frozenset((0,)))
    clock = iter((10.0, 12.0))
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    file, second = tmp_path / "stat", round(1 / TICK_S)
    file.write_text("cpu0 0 0 0 0 0 0 0 0\n")
    meter = ConditionsMeter(100.0, file)
    file.write_text(f"cpu0 {second} 0 0 {second // 2} 0 0 0 {second // 2}\n")
    conditions = meter.read(100.4, [2400.0, 2600.0])
    assert conditions.frequency_mhz == 2500
    assert conditions.steal == pytest.approx(0.25)
    assert conditions.other_load == pytest.approx((1 - 0.4) / 2)


def test_what_cannot_be_read_is_not_made_up(tmp_path):
    meter = ConditionsMeter(0.0, tmp_path / "absent")
    conditions = meter.read(0.0, [])
    assert (conditions.steal, conditions.other_load, conditions.frequency_mhz) == (None, None, None)
    assert mean_frequency_mhz((0,), tmp_path) is None


def test_frequency_is_the_mean_over_the_cpus(tmp_path):
    for cpu, kilohertz in ((0, 2_000_000), (1, 3_000_000)):
        folder = tmp_path / f"cpu{cpu}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_cur_freq").write_text(f"{kilohertz}\n")
    assert mean_frequency_mhz((0, 1), tmp_path) == 2500

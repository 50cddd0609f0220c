import io
import statistics
from dataclasses import replace

import numpy as np
import pytest
from bench_records import EVIL, UNREADABLE, full_record, group, hostile_record, record, small_record
from rich.console import Console

from levit_benchmarks.bench.figures import UNKNOWN, mebibytes, percent, ratio, significant
from levit_benchmarks.bench.record import Conditions
from levit_benchmarks.bench.tables import print_tables


def printed(made, **options):
    stream = io.StringIO()
    print_tables(made, Console(file=stream, width=120, **options))
    return stream.getvalue()


def row(text, name):
    """The cells of the first row of `name`, which has no blanks in it."""
    return next(line.split() for line in text.splitlines() if line.startswith(name))


@pytest.fixture(scope="module")
def full():
    return printed(full_record())


def test_figures_are_those_of_the_samples():
    made = small_record()
    (one,) = made.groups
    bursts = [turn.bursts["fast"] for turn in one.rounds]
    calls = np.concatenate([burst.latencies_ns for burst in bursts]) / 1e6
    wall_s = sum(burst.wall_ns for burst in bursts) / 1e9
    medians = [statistics.median(burst.latencies_ns) for burst in bursts]
    macs, peak = one.candidates[1].macs, made.limits[0].flops["fp32"]
    cells = row(printed(made), "fast")
    assert float(cells[1]) == pytest.approx(np.percentile(calls, 50), rel=0.005)
    assert float(cells[2]) == pytest.approx(np.percentile(calls, 90), rel=0.01)
    assert float(cells[3]) == pytest.approx(len(calls) / wall_s, rel=0.005)
    assert float(cells[4]) == pytest.approx(sum(burst.cpu_ns for burst in bursts) / 1e6 / len(calls), rel=0.005)
    assert cells[5] == "211"
    assert float(cells[6]) == pytest.approx(100 * 2 * macs / peak / (statistics.median(medians) / 1e9), abs=0.5)
    paired = [
        statistics.median(turn.bursts["fast"].latencies_ns) / statistics.median(turn.bursts["slow"].latencies_ns)
        for turn in one.rounds
    ]
    assert cells[7:9] == ["%", f"{statistics.median(paired):.3f}"]
    low, high = float(cells[9].strip("(")), float(cells[11].strip(")"))
    assert min(paired) <= low <= statistics.median(paired) <= high <= max(paired) + 5e-4
    assert cells[-1] == "faster"
    assert row(printed(made), "slow")[-1] == "baseline"


def test_what_a_gpu_took_has_a_column_where_one_told_it():
    made = small_record()
    (one,) = made.groups
    rounds = tuple(
        replace(turn, bursts=turn.bursts | {"fast": replace(turn.bursts["fast"], gpu_ns=(2_345_678,) * 20)})
        for turn in one.rounds
    )
    text = printed(replace(made, groups=(replace(one, rounds=rounds),)))
    assert "GPU p50, ms" in text
    assert row(text, "fast")[3] == "2.35"
    assert row(text, "slow")[3] == UNKNOWN
    assert "GPU" not in printed(made)


def test_shows_only_percentiles_that_the_count_carries():
    few, many = printed(record(group({"a": 5.0}, rounds=3, count=9))), printed(record(group({"a": 5.0}, count=60)))
    assert "p50, ms" in few
    assert "p90" not in few
    assert "p99, ms" in many
    assert "p99.9" not in many


def test_shows_all_that_a_run_holds(full):
    for text in (
        "Single-stream, batch 1, 2 threads",
        "Offline, batch 8, 2 threads",
        "What this machine can do at most",
        "sgemm of 2048 x 2048, best of 20",
        "12 rounds; load average 0.4; stolen by the hypervisor 0.1 % of CPU time",
        "LeViT-384 onnxruntime 2 sessions of 1 thread",
        "Cold start, fresh processes: median seconds by stage",
        "From a JPEG to its classes",
        "LeViT-384 onnxruntime, coffee",
        "golden logits, 0.04 of the bound",
        "ab12ab12ab12",
        "AMD EPYC 7B13, 2 of 4 CPUs, 24 GiB",
        "onnxruntime 1.32.0, revision 0123456789ab",
    ):
        assert text in full, text


def test_fits_a_terminal(full):
    for text in (full, printed(hostile_record())):
        assert max(map(len, text.splitlines())) <= 120
    assert "…" not in full


def test_says_plainly_what_is_noisy(full):
    said = " ".join(full.split())
    assert "! Rounds differ widely for LeViT-384 onnxruntime" in said
    assert "! The hypervisor gave up to 11 % of the CPU time to others" in said
    assert "! Other processes kept up to 0.90 CPUs busy" in said
    quiet, _, _ = said.partition("Offline")
    assert "! " not in quiet


def test_a_run_that_cannot_decide_says_so_and_equal_ones_are_called_equal():
    noisy = " ".join(printed(record(group({"a": 10.0, "b": 10.1}, noise=0.15))).split())
    assert "! Too noisy to decide: b may take from 0." in noisy
    equal = " ".join(printed(record(group({"a": 10.0, "b": 10.0}, noise=0.003))).split())
    assert "! b differs from the baseline by" in equal
    assert "Too noisy" not in equal
    assert row(printed(record(group({"a": 10.0, "b": 10.0}, noise=0.003))), "b")[-2:] == ["cannot", "tell"]


def test_one_round_alone_is_shown_and_decides_nothing():
    text = printed(record(group({"a": 10.0, "b": 20.0}, rounds=1)))
    assert row(text, "b")[-2:] == ["cannot", "tell"]
    said = " ".join(text.split())
    assert "! One round cannot show how much rounds differ" in said
    assert "! 1 round: too few to decide: b may take" in said


def test_what_cannot_be_read_here_is_unknown_not_zero():
    text = " ".join(printed(record(group({"a": 10.0}, conditions=UNREADABLE))).split())
    assert "stolen by the hypervisor unknown; kept busy by other processes unknown; clock unknown" in text
    some = Conditions(load_average=0.0, steal=0.0, other_load=None, frequency_mhz=None)
    assert "stolen by the hypervisor 0 % of CPU time" in " ".join(
        printed(record(group({"a": 10.0}, conditions=some))).split()
    )


def test_a_run_may_hold_nothing():
    text = printed(record(limits=()))
    assert "AMD EPYC" in text
    assert "candidate" not in text
    assert "Machine:" in printed(record(environment={"date": "", "machine": {}, "packages": {}}))


def test_groups_of_one_setting_are_told_apart():
    text = printed(record(group({"a": 10.0}), group({"b": 10.0})))
    assert "Single-stream, batch 1, 2 threads (1 of 2)" in text
    assert "Single-stream, batch 1, 2 threads (2 of 2)" in text


@pytest.mark.parametrize("options", [{}, {"markup": True, "emoji": True}, {"force_terminal": True}])
def test_names_are_neither_markup_nor_codes(options):
    text = printed(hostile_record(), **options)
    assert EVIL not in text
    assert "[bold" in text
    assert ":smile:" in text
    assert "\x1b[31m" not in text
    assert not set(text) & {"\x00", "\N{RIGHT-TO-LEFT OVERRIDE}", "\ud800"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (significant(1234.5), "1230"),
        (significant(0.012345), "0.0123"),
        (significant(9.999), "10.0"),
        (significant(99.96), "100"),
        (significant(0.0), "0"),
        (significant(None), "–"),
        (significant(float("nan")), "–"),
        (percent(0.0031), "0.3 %"),
        (percent(0.431), "43 %"),
        (percent(None), "–"),
        (mebibytes(211 << 20), "211"),
        (mebibytes(0), "–"),
        (ratio(0.5), "0.500"),
        (ratio(123.4), "123"),
        (ratio(0.00123), "0.00123"),
    ],
)
def test_numbers_read_well(text, expected):
    assert text == expected

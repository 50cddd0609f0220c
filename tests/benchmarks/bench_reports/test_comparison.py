import json
import math
from dataclasses import replace

import numpy as np
import pytest
from bench_records import EVIL, LIMIT, candidate, full_record, group, hostile_record, record, small_record
from scipy import stats

from levit_benchmarks.bench.comparison import compare, main
from levit_benchmarks.bench.document import write_record
from levit_benchmarks.bench.record import Sessions
from levit_benchmarks.bench.two_samples import ratio_interval


def one(time_ms, seed, **changes):
    return record(group({"engine": time_ms}, seed=seed, count=20, **changes))


def write(tmp_path, *records):
    paths = [tmp_path / f"{name}.json" for name in "ab"]
    for path, made in zip(paths, records, strict=True):
        write_record(made, path)
    return [str(path) for path in paths]


@pytest.mark.parametrize(("n", "m"), [(4, 4), (3, 5), (5, 9), (12, 12), (20, 9), (70, 60)])
def test_the_interval_excludes_1_just_where_the_u_test_tells_apart(n, m):
    random = np.random.default_rng(n * m)
    found = 0
    for _ in range(200):
        shift = random.choice([0.0, 0.05, 0.1, 0.3])
        first, second = random.lognormal(0, 0.1, n), random.lognormal(shift, 0.1, m)
        low, high = ratio_interval(first, second)
        method = "exact" if n * m <= 4000 else "asymptotic"
        p_value = stats.mannwhitneyu(first, second, method=method, use_continuity=False).pvalue
        if abs(p_value - 0.05) > 1e-3:
            assert (p_value <= 0.05) == (not low <= 1 <= high), (p_value, low, high)
        found += not low <= 1 <= high
    assert 0 < found < 200


def test_the_interval_holds_the_true_factor_as_often_as_it_says():
    random = np.random.default_rng(0)
    held = 0
    for _ in range(1000):
        low, high = ratio_interval(random.lognormal(0, 0.2, 9), 1.1 * random.lognormal(0, 0.2, 9))
        held += low <= 1.1 <= high
    assert held >= 950 - 3 * math.sqrt(1000 * 0.05 * 0.95)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 30), (2, 7), (3, 4)])
def test_too_few_times_have_no_interval(n, m):
    assert ratio_interval([1.0] * n, [2.0] * m) is None


def test_equal_runs_are_rarely_told_apart_and_a_slow_down_is_found():
    wrong = sum(compare(one(10.0, 2 * n), one(10.0, 2 * n + 1)).rows[0].outcome != "cannot tell" for n in range(100))
    assert wrong <= 11  # P(more) < 1 % at 5 % each
    found = [compare(one(10.0, 2 * n), one(11.5, 2 * n + 1)).rows[0].outcome for n in range(20)]
    assert found.count("slower") >= 18
    assert "faster" not in found


def test_rows_are_matched_by_name_and_setting():
    times = {"LeViT-384 a": 10.0, "LeViT-384 b": 20.0, "gone": 5.0}
    before = record(group(times), group(times, batch=8, count=9))
    after = record(group({"LeViT-384 b": 10.0, "new": 5.0, "LeViT-384 a": 10.0}, seed=1), group(times, threads=1))
    comparison = compare(before, after)
    assert [(row.setting, row.name, row.outcome) for row in comparison.rows] == [
        ("single-stream, batch 1, 2 threads", "LeViT-384 a", "cannot tell"),
        ("single-stream, batch 1, 2 threads", "LeViT-384 b", "faster"),
    ]
    assert comparison.rows[1].ratio == pytest.approx(0.5, rel=0.03)
    assert "gone (single-stream, batch 1, 2 threads)" in comparison.only_before
    assert "LeViT-384 a (single-stream, batch 8, 2 threads)" in comparison.only_before
    assert "new (single-stream, batch 1, 2 threads)" in comparison.only_after
    assert "gone (single-stream, batch 1, 1 thread)" in comparison.only_after


def test_times_are_of_one_image_and_offline_by_the_clock():
    made = full_record()
    rows = {(row.setting, row.name): row for row in compare(made, made).rows}
    offline = made.groups[1]
    bursts = [turn.bursts["LeViT-384 timm"] for turn in offline.rounds]
    by_clock = np.median([burst.wall_ns / len(burst.latencies_ns) / 8 for burst in bursts]) / 1e6
    assert rows["offline, batch 8, 2 threads", "LeViT-384 timm"].before_ms == pytest.approx(by_clock)
    cold = rows["cold start, 2 threads", "LeViT-384 timm"]
    assert cold.before_ms == pytest.approx(1e3 * np.mean([1.5, 1.8]))
    end = rows["end to end, coffee, 2 threads", "LeViT-384 onnxruntime"]
    assert end.before_ms == pytest.approx(46.021)
    assert all(row.ratio == 1.0 and row.outcome == "cannot tell" for row in rows.values())


def test_a_candidate_measured_twice_under_a_setting_is_matched_in_turn():
    twice = record(group({"engine": 10.0}), group({"engine": 20.0}, seed=1))
    rows = compare(twice, twice).rows
    assert [row.setting for row in rows] == [
        "single-stream, batch 1, 2 threads",
        "single-stream, batch 1, 2 threads (2)",
    ]


def test_warns_of_what_else_differs():
    before, after = small_record(), small_record()
    machine = before.environment["machine"] | {"cpu": "another", "usable_cpus": 1}
    packages = before.environment["packages"] | {"onnxruntime": "1.33.0"}
    changed = group(
        {"slow": 12.0, "fast": 8.0},
        candidates=(candidate("slow", timed_sha256="cd34" * 16), candidate("fast", details={"provider": "none"})),
        sessions={"slow": Sessions(sessions=2, threads=1), "fast": Sessions(sessions=1, threads=2)},
    )
    after = replace(
        after,
        environment=before.environment | {"machine": machine, "packages": packages, "revision": None},
        settings=before.settings | {"rounds": 5},
        limits=(replace(LIMIT, flops={"fp32": 1.3e11 * 0.8, "int8": 4.1e11 * 1.04}),),
        groups=(changed,),
    )
    warnings = "\n".join(compare(before, after).warnings)
    for sentence in (
        "machine: cpu differs: AMD EPYC 7B13, then another",
        "machine: usable_cpus differs: 2, then 1",
        "packages: onnxruntime differs: 1.32.0, then 1.33.0",
        "revision differs: 0123456789abcdef",
        "settings: rounds differs: 12, then 5",
        "slow: timed_sha256 differs: ab12",
        "fast: provider differs: CPUExecutionProvider, then none",
        "its fp32 peak with 2 threads is 20% lower in the second run",
        "slow (single-stream, batch 1, 2 threads) ran 1 session of 2 threads, then 2 sessions of 1 thread",
    ):
        assert sentence in warnings
    assert "int8" not in warnings
    assert compare(before, before).warnings == ()


def test_json_is_one_document_with_all_of_it(tmp_path, capsys):
    paths = write(tmp_path, one(10.0, 0), one(12.0, 1))
    assert main([*paths, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (row,) = document["rows"]
    assert row["outcome"] == "slower"
    assert row["low"] <= row["ratio"] <= row["high"]
    assert (document["before"], document["after"]) == tuple(paths)
    assert document["warnings"] == document["too_slow"] == []


@pytest.mark.parametrize(
    ("time_ms", "options", "code"),
    [
        (12.0, [], 0),
        (12.0, ["--fail-slower", "5"], 1),
        (12.0, ["--fail-slower", "0", "--json"], 1),
        (12.0, ["--fail-slower", "30"], 0),
        (8.0, ["--fail-slower", "5"], 0),
    ],
)
def test_exit_code_says_what_is_too_slow(time_ms, options, code, tmp_path, capsys):
    assert main([*write(tmp_path, one(10.0, 0), one(time_ms, 1)), *options]) == code
    printed = capsys.readouterr().out
    if code and "--json" not in options:
        assert "✗ engine (single-stream, batch 1, 2 threads) is slower by" in printed
    if "--json" in options:
        assert [row["name"] for row in json.loads(printed)["too_slow"]] == ["engine"]


def test_a_difference_that_cannot_be_told_fails_nothing(tmp_path):
    noisy = [one(10.0, 0, rounds=3), one(14.0, 1, rounds=3)]
    assert compare(*noisy).rows[0].low is None
    assert main([*write(tmp_path, *noisy), "--fail-slower", "1"]) == 0


def test_prints_nothing_that_a_terminal_obeys_and_keeps_to_its_width(tmp_path, capsys):
    paths = write(tmp_path, hostile_record(), hostile_record())
    assert main(paths) == 0
    printed = capsys.readouterr().out
    assert not set(printed) & {"\x1b", "\x00", "\N{RIGHT-TO-LEFT OVERRIDE}"}
    assert "[bold" in printed
    assert max(map(len, printed.splitlines())) <= 120
    assert EVIL not in printed


def test_a_bad_file_is_named_and_two_strangers_are_told(tmp_path, capsys):
    paths = write(tmp_path, one(10.0, 0), record(group({"other": 1.0}, count=9)))
    assert main(paths) == 3
    message = capsys.readouterr().err
    assert "have no candidate under the same scenario, batch and threads in common" in message
    assert message.count("\n") == 1
    (tmp_path / "b.json").write_text("{}")
    assert main(paths) == 3
    assert f"{paths[1]}: not a run of levit-bench" in capsys.readouterr().err
    assert main([paths[0], str(tmp_path / "absent.json")]) == 3


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "much"])
def test_a_percentage_must_be_one(text, tmp_path, capsys):
    with pytest.raises(SystemExit) as error:
        main([*write(tmp_path, one(10.0, 0), one(10.0, 1)), f"--fail-slower={text}"])
    assert error.value.code == 2
    assert "not a percentage of at least 0" in capsys.readouterr().err

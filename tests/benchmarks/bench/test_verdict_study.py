"""The study of verdicts: its arithmetic, and that what it plants is really slower."""

from __future__ import annotations

import json
import time

import pytest
from scipy import stats

from levit_benchmarks import verdict_study
from levit_benchmarks.bench.rounds import BurstLength
from levit_benchmarks.bench.subject import Order
from levit_benchmarks.verdict_study import (
    BASELINE,
    PLANTED,
    SAME,
    SlowedSubject,
    StudyRun,
    run_once,
    summarize,
)
from levit_engines.evaluation.statistics import share_interval


@pytest.mark.parametrize(("count", "total"), [(0, 20), (1, 20), (3, 60), (19, 20), (20, 20)])
def test_intervals_of_rates_are_those_of_scipy(count, total):
    expected = stats.binomtest(count, total).proportion_ci(method="exact")
    assert share_interval(count, total) == pytest.approx((expected.low, expected.high))


def run(same, planted):
    times = {BASELINE: [1.0] * 10, SAME: [same] * 10, PLANTED: [planted] * 10}
    return StudyRun(times_s=times, steal=None, other_load=None)


def test_verdicts_are_counted():
    summary = summarize([run(1.0, 1.05)] * 19 + [run(1.1, 1.0)])
    assert (summary["false_verdicts"]["count"], summary["planted_found"]["count"]) == (1, 19)
    assert summary["passed"]
    assert summary["outcomes"] == {SAME: {"cannot tell": 19, "slower": 1}, PLANTED: {"cannot tell": 1, "slower": 19}}
    assert not summarize([run(1.0, 1.05)] * 18 + [run(1.1, 1.05)] * 2)["passed"]
    assert not summarize([run(1.0, 1.05)] * 17 + [run(1.0, 1.0)] * 3)["passed"]


def test_the_planted_share_is_added_to_every_call():
    class Engine:
        def infer(self, images):
            time.sleep(0.05)
            return images

    start_s = time.perf_counter()
    assert SlowedSubject(Engine(), 1.0).infer("logits") == "logits"
    assert time.perf_counter() - start_s >= 0.1


@pytest.mark.slow
def test_a_run_times_three_processes_of_the_engine(proven_bundle):
    order = Order(name=BASELINE, threads=1, batch=1, network="tiny", engine="onnxruntime", bundle=proven_bundle().path)
    found = run_once(order, share=30.0, rounds=8, processes=2, length=BurstLength(seconds=0.02, count=20))
    assert {name: len(times) for name, times in found.times_s.items()} == dict.fromkeys((BASELINE, SAME, PLANTED), 8)
    assert found.verdict(PLANTED).outcome == "slower"
    assert found.verdict(PLANTED).low > 10


def test_a_study_keeps_its_runs(make_bundle, tmp_path, monkeypatch):
    calls = iter([run(1.0, 1.05), run(1.0, 1.06)])
    monkeypatch.setattr(verdict_study, "run_once", lambda *_, **__: next(calls))
    result = tmp_path / "study.json"
    assert verdict_study.main([str(make_bundle().path), "--runs", "2", "--json", str(result)]) == 0
    document = json.loads(result.read_text())
    assert document["summary"]["runs"] == len(document["runs"]) == 2
    assert document["runs"][1]["verdicts"][PLANTED]["outcome"] == "slower"
    assert verdict_study.main([str(make_bundle("other").path), "--json", str(result)]) == 2

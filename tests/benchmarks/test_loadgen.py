"""MLPerf LoadGen on a bundle that takes microseconds: what is checked, what is said, and what its summary means."""

import importlib.util
import json
import os

import pytest
from proven_bundles import proven

from levit_benchmarks.loadgen import cli
from levit_benchmarks.loadgen.summary import parse_summary
from levit_benchmarks.machine import BenchmarkError

QUICK = ("--seconds", "0.1", "--threads", "1")
SUMMARY = """\
================================================
MLPerf Results Summary
================================================
SUT name : PySUT
Scenario : SingleStream
Mode     : PerformanceOnly
90.0th percentile latency (ns) : 2142995
Result is : INVALID
  Min duration satisfied : NO
  Min queries satisfied : Yes
  Early stopping satisfied: NO
Recommendations:
 * Increase expected QPS so the loadgen pre-generates
   a larger (coalesced) query.
 * Another one.
Early Stopping Result:
 * Processed at least 64 queries (463).
 * Would discard 30 highest latency queries.
 * Early stopping 90.0th percentile estimate: 2148140
 * Not enough queries processed for 99.0th percentile
 early stopping estimate (would need to process at
 least 662 total queries).

================================================
Additional Stats
================================================
QPS w/ loadgen overhead         : 461.45
QPS w/o loadgen overhead        : 464.09

50.00 percentile latency (ns)   : 2118128
99.90 percentile latency (ns)   : 6052069

================================================
Test Parameters Used
================================================
samples_per_query : 1
min_duration (ms): 1000

No warnings encountered during test.
"""


@pytest.fixture
def bundle(make_bundle):
    def make(**options):
        return str(proven(make_bundle, **options).path)

    return make


@pytest.fixture
def loadgen():
    """LoadGen has no wheel for some platforms; CI's has one."""
    if "CI" not in os.environ:
        pytest.importorskip("mlperf_loadgen", reason="mlcommons-loadgen is not installed")


@pytest.mark.usefixtures("loadgen")
def test_a_single_stream_is_valid_and_labelled(bundle, tmp_path, capsys):
    logs, output = tmp_path / "logs", tmp_path / "result.json"
    logs.mkdir()
    assert cli.main([bundle(), *QUICK, "--logs", str(logs), "-o", str(output), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads(output.read_text())
    assert found["label"].startswith("not an MLPerf result")
    assert found["loadgen"].startswith("6.")
    assert found["result"]["validity"] == "VALID"
    assert "90" in found["result"]["early_stopping_ms"]
    assert found["result"]["samples_per_s"] is None
    assert found["result"]["parameters"]["min_query_count"] == "64"
    assert found["settings"]["scenario"] == "single-stream"
    assert len(found["checked"]) == 2
    assert {"mlperf_log_summary.txt", "mlperf_log_detail.txt"} <= {path.name for path in logs.iterdir()}


@pytest.mark.usefixtures("loadgen")
def test_offline_runs_whole_batches_of_a_static_graph(bundle, capsys):
    code = cli.main([bundle(batch=3), *QUICK, "--scenario", "offline"])
    shown = capsys.readouterr().out
    assert "This is not an MLPerf result" in shown
    assert "batch 3" in shown
    assert " images/s" in shown
    # On a machine that suddenly runs faster than in the pilot, LoadGen's query is too small, and it says so.
    assert code == (0 if "calls the run VALID" in shown else 1)


@pytest.mark.usefixtures("loadgen")
def test_wrong_logits_are_found_before_the_run(bundle, capsys):
    assert cli.main([bundle(error=1.0), *QUICK]) == 1
    assert "parity lost" in capsys.readouterr().err


@pytest.mark.usefixtures("loadgen")
@pytest.mark.parametrize(
    "break_with", [KeyboardInterrupt(), ZeroDivisionError("nought")], ids=lambda one: type(one).__name__
)
def test_an_error_in_a_query_ends_the_run_and_is_told(bundle, capsys, monkeypatch, break_with):
    from levit_benchmarks.loadgen.system import SystemUnderTest

    def fail(*_):
        raise break_with

    monkeypatch.setattr(SystemUnderTest, "_infer", fail)
    if isinstance(break_with, KeyboardInterrupt):
        assert cli.main([bundle(), *QUICK]) == 130
    else:
        with pytest.raises(ZeroDivisionError):
            cli.main([bundle(), *QUICK])


@pytest.mark.usefixtures("loadgen")
def test_no_settings_are_taken_from_the_current_folder(bundle, tmp_path, monkeypatch, capsys):
    (tmp_path / "audit.config").write_text("*.*.min_query_count = 100000\n")
    monkeypatch.chdir(tmp_path)
    assert cli.main([bundle(), *QUICK, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["result"]["parameters"]["min_query_count"] == "64"


@pytest.mark.usefixtures("loadgen")
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--batch", "8"), 2, "batches are for offline"),
        (("--scenario", "offline", "--batch", "8"), 2, "takes batches of 1 to 1, not of 8"),
        (("--seconds", "nan"), 2, "above 0"),
        (("--logs", "/no/such/folder"), 2, "an empty folder"),
        (("--output", "/no/such/folder/run.json"), 2, "existing folder"),
    ],
)
def test_what_cannot_be_done_is_refused(bundle, capsys, arguments, code, message):
    assert cli.main([bundle(), *QUICK, *arguments]) == code
    assert message in capsys.readouterr().err


def test_without_loadgen_the_extra_is_named(bundle, capsys, monkeypatch):
    honest = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "mlperf_loadgen" else honest(name))
    assert cli.main([bundle(), *QUICK]) == 4
    assert 'pip install "levit-deploy[loadgen]"' in capsys.readouterr().err


def test_the_summary_is_read_as_loadgen_means_it():
    result = parse_summary(SUMMARY)
    assert result.validity == "INVALID"
    assert result.unsatisfied == ("Min duration", "Early stopping")
    assert result.recommendations == (
        "Increase expected QPS so the loadgen pre-generates a larger (coalesced) query.",
        "Another one.",
    )
    assert result.early_stopping_ms == {90.0: 2.14814}
    assert result.percentiles_ms == {50.0: 2.118128, 99.9: 6.052069}
    assert result.parameters["min_duration (ms)"] == "1000"
    assert result.samples_per_s is None
    assert parse_summary("Samples per second: 1095.36\nResult is : VALID\n").samples_per_s == 1095.36


def test_a_summary_without_a_result_is_an_error():
    with pytest.raises(BenchmarkError, match="Result is"):
        parse_summary("nothing")

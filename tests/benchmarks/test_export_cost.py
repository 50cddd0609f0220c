"""The benchmark of an export's cost: its arithmetic on made-up samples, its processes, and the peers' scripts."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import onnx
import pytest

from levit_benchmarks import export_cost, machine
from levit_benchmarks.export_cost import LIMIT, OURS, OUTSIDE, PEERS, Round, Sample, parse_stages, summarize, verdict
from levit_benchmarks.machine import BenchmarkError
from levit_deploy.errors import EnvironmentIncompleteError

MIB = 2**20
NO_STAGES = ("", "Exported in 3 s", "[]", "{}", '{"stages": []}', '{"stages": [{"name": "load"}]}')
NO_DURATION = '{"stages": [{"name": "load", "seconds": %s}]}'


def sample(wall_s: float, **ours_s: float) -> Sample:
    stages = {OUTSIDE: 1.0, "trace": wall_s - 1 - sum(ours_s.values())} | ours_s
    return Sample(wall_s=wall_s, cpu_s=2 * wall_s, peak_rss_bytes=100 * MIB, output_bytes=7, stages_s=stages)


def one_round(ours_s: float, timm_s: float, transformers_s: float) -> Round:
    walls = dict(zip(PEERS, (timm_s, transformers_s), strict=True))
    samples = {OURS: sample(ours_s, verify=0.5)} | {peer: sample(wall_s) for peer, wall_s in walls.items()}
    return Round(load_before=(0.0, 0.0, 0.0), load_after=(1.0, 0.5, 0.2), samples=samples)


def test_ratios_are_to_the_slower_peer_of_the_same_round():
    # A pairing across rounds, or with the faster peer or the medians, would give other ratios.
    rounds = [one_round(12, 10, 8), one_round(30, 10, 20), one_round(9, 4, 5)]
    assert [one.ratio for one in rounds] == [1.2, 1.5, 1.8]
    summary = summarize(rounds)
    assert summary["ratio"] == {"median": 1.5, "min": 1.2, "max": 1.8, "limit": LIMIT}
    assert verdict(summary) == "ours takes 1.50x the slower peer (limit 2.00x)"


def test_medians_by_candidate():
    candidates = summarize([one_round(12, 10, 8), one_round(30, 11, 20), one_round(9, 4, 5)])["candidates"]
    assert [candidates[name]["wall_s"] for name in (OURS, *PEERS)] == [12, 10, 8]
    assert candidates[OURS]["wall_s_range"] == [9, 30]
    assert candidates[OURS]["cpu_s"] == 24
    assert candidates[OURS]["peak_rss_bytes"] == 100 * MIB
    assert candidates[OURS]["stages_s"] == {OUTSIDE: 1, "trace": 10.5, "verify": 0.5}
    assert candidates["timm"]["stages_s"] == {OUTSIDE: 1, "trace": 9, "verify": 0}


def test_extra_seconds_add_up_to_the_difference():
    extra = summarize([one_round(12, 10, 8)])["extra_s"]
    assert extra == {OUTSIDE: 0, "trace": 1.5, "verify": 0.5}
    assert sum(extra.values()) == 12 - 10


@pytest.mark.parametrize(("ours_s", "within"), [(19.99, True), (20.0, False), (20.01, False), (math.nan, False)])
def test_the_limit_itself_is_too_much(ours_s, within):
    assert summarize([one_round(ours_s, 10, 8)])["within_limit"] is within


def test_stages_and_what_they_leave_of_the_wall_time():
    text = json.dumps({"stages": [{"name": "load", "seconds": 1.5, "nodes": None}, {"name": "trace", "seconds": 2}]})
    assert parse_stages(text, 4.0) == {OUTSIDE: 0.5, "load": 1.5, "trace": 2.0}


@pytest.mark.parametrize(
    "text", [*NO_STAGES, *(NO_DURATION % seconds for seconds in ("null", "NaN", "Infinity", "-1"))]
)
def test_stages_that_are_none_are_refused(text):
    with pytest.raises(BenchmarkError):
        parse_stages(text, 4.0)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in, where measurements are made up: ours takes 15 s, each peer 10 s."""
    monkeypatch.chdir(tmp_path)
    walls = {"levit-export": 15.0, "python": 10.0}
    monkeypatch.setattr(export_cost, "measure", lambda command: sample(walls[command[0]]))
    monkeypatch.setattr(export_cost, "REQUIRED", ())
    return tmp_path


def test_a_run_writes_raw_samples_environment_and_summary(results, capsys):
    assert export_cost.main(["--arch", "levit-128s", "--rounds", "3"]) == 0
    text = (results / "export-cost-128S.json").read_text()
    document = json.loads(text, parse_constant=pytest.fail)  # NaN and Infinity are no JSON
    assert " ".join(document) == "schema_version date machine packages revision settings rounds summary"
    assert len(document["rounds"]) == document["settings"]["rounds"] == 3  # the warm-up round is not among them
    assert document["rounds"][0]["samples"]["timm"]["wall_s"] == 10
    assert document["summary"]["ratio"]["median"] == 1.5
    assert str(results) not in text
    assert "ours takes 1.50x the slower peer (limit 2.00x)" in capsys.readouterr().out
    assert [path.name for path in results.iterdir()] == ["export-cost-128S.json"]


def test_the_exit_code_is_1_at_the_limit(results, monkeypatch, capsys):
    monkeypatch.setattr(export_cost, "LIMIT", 1.5)
    assert export_cost.main(["--rounds", "1"]) == 1
    assert "FAIL" in capsys.readouterr().out


def test_an_existing_result_stays_and_no_folder_is_made_up(results, capsys):
    path = results / "export-cost-384.json"
    path.write_text("precious")
    assert export_cost.main([]) == 2
    assert path.read_text() == "precious"
    assert "--overwrite" in capsys.readouterr().err
    assert export_cost.main(["--json", "nowhere/result.json"]) == 2
    assert export_cost.main(["--overwrite", "--rounds", "1"]) == 0
    assert json.loads(path.read_text())["schema_version"] == 1


def test_a_missing_package_is_named(results, monkeypatch, capsys):
    monkeypatch.setattr(export_cost, "REQUIRED", ("timm",))
    monkeypatch.setattr(machine, "package_versions", dict.fromkeys)
    assert export_cost.main([]) == EnvironmentIncompleteError.exit_code
    assert "timm missing" in capsys.readouterr().err


def test_candidates_take_turns(monkeypatch):
    seen: list[str] = []

    def measure(command: Sequence[str]) -> Sample:
        seen.append(" ".join(command))
        return sample(3.0)

    monkeypatch.setattr(export_cost, "measure", measure)
    assert len(export_cost.run_rounds("128S", 2)) == 2
    assert seen == 3 * [" ".join(command) for command in export_cost.commands("128S").values()]


@pytest.mark.parametrize("block_mib", [0, 200])
def test_the_memory_of_a_child_of_the_process_counts(block_mib, tmp_path):
    grandchild = f"block = bytearray({block_mib * MIB}); print('done')"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grandchild!r}], check=True)"
    # Measured by a small process: the memory of this one, which has PyTorch in it, would count as the child's.
    measurer = (
        "import sys, pathlib, levit_benchmarks.machine as machine; "
        f"cost = machine.run_measured([sys.executable, '-c', {child!r}], pathlib.Path()); "
        "assert cost.stdout == 'done\\n' and 0 < cost.cpu_s and 0 < cost.wall_s; print(cost.peak_rss_bytes)"
    )
    done = subprocess.run([sys.executable, "-c", measurer], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert block_mib * MIB < int(done.stdout) < (block_mib + 100) * MIB


def test_a_process_that_fails_or_writes_nothing_is_an_error():
    with pytest.raises(BenchmarkError, match="exit code 1: no such thing"):
        export_cost.measure(["python", "-c", "raise SystemExit('no such thing')"])
    with pytest.raises(BenchmarkError, match="wrote nothing"):
        export_cost.measure(["python", "-c", "pass"])


@pytest.mark.slow
@pytest.mark.parametrize("peer", PEERS)
def test_the_script_of_a_peer_writes_a_valid_graph(peer, tmp_path):
    pytest.importorskip(peer)
    command = export_cost.commands("128S")[peer]
    done = subprocess.run([sys.executable, *command[1:]], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(parse_stages(done.stdout, 1000.0)) == {OUTSIDE, "load", "trace"}
    path = tmp_path / command[-1]
    onnx.checker.check_model(path, full_check=True)
    graph = onnx.load(path, load_external_data=False).graph
    assert [dimension.dim_value for dimension in graph.input[0].type.tensor_type.shape.dim] == [1, 3, 224, 224]
    assert [dimension.dim_value for dimension in graph.output[0].type.tensor_type.shape.dim] == [1, 1000]

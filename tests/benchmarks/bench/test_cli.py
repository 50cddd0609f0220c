"""levit-bench on a bundle that takes microseconds: what it writes, and what it refuses before it measures."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fixtures_bundle import clean_environment, command_without, files_below

from levit_benchmarks.bench import cli, limits
from levit_benchmarks.bench.document import from_json
from levit_benchmarks.bench.record import MachineLimit
from levit_engines import ENGINES

QUICK = ("--rounds", "3", "--min-seconds", "0.01", "--processes", "1")
ABSENT = ("torch", "torchvision", "timm", "transformers", "levit_export", "scipy", "psutil", "matplotlib")
WITHOUT_TORCH = command_without("levit_benchmarks.bench.cli", ABSENT)
# A shell ignores the signal in what it starts in the background, and Python leaves it so.
INTERRUPTED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from levit_benchmarks.bench import cli, limits, run
from levit_benchmarks.bench.record import MachineLimit
limits.measure_limits = lambda *_: MachineLimit(threads=1, flops={}, bytes_s=1.0, method={})
crew = run.Crew
run.Crew = lambda *arguments: print("opening", flush=True) or crew(*arguments)
sys.exit(cli.main())
"""


@pytest.fixture(autouse=True)
def no_peaks(monkeypatch):
    """Measuring the machine takes ten seconds and has tests of its own."""

    def measure(threads, precisions):
        return MachineLimit(threads=threads, flops=dict.fromkeys(precisions, 1e11), bytes_s=1e10, method={})

    monkeypatch.setattr(limits, "measure_limits", measure)


def test_a_run_with_everything_is_kept_and_printed(proven_bundle, tmp_path, capsys):
    bundle, output = proven_bundle(batch="batch", maximum=8), tmp_path / "run.json"
    arguments = ("--engine", "onnxruntime,openvino", "--batch", "1,8", "--threads", "1", "--cold-start", "2")
    arguments += (*QUICK, "--processes", "2")
    code = cli.main([str(bundle.path), *arguments, "--end-to-end", "--json", "-o", str(output)])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    assert json.loads(printed.out) == json.loads(output.read_text())
    record = from_json(json.loads(printed.out), "stdout")
    assert [group.batch for group in record.groups] == [1, 8]
    for group in record.groups:
        names = [candidate.name for candidate in group.candidates]
        assert names == ["bundle onnxruntime", "bundle openvino"]
        assert group.baseline == names[0]
        assert len(group.rounds) == 3
        assert [candidate.timed_sha256 for candidate in group.candidates] == [
            bundle.manifest.members["model.onnx"].sha256
        ] * 2
        assert f"at batch {group.batch} " in group.candidates[0].checked
    assert [len(cold.stages_s) for cold in record.cold_starts] == [2, 2]
    assert set(record.cold_starts[0].stages_s[0]) == {"interpreter", "import", "load", "first answer"}
    assert record.cold_starts[0].candidate.details["page cache"].startswith("warm")
    assert {one.photograph for one in record.end_to_end} == {"astronaut", "chelsea", "coffee", "rocket"}
    assert list(record.end_to_end[0].stages_ns[0]) == ["decode", "preprocess", "infer", "post-process"]
    assert (record.settings["threads"], record.settings["processes"]) == (1, 2)


def test_tables_are_printed_and_the_threads_said(proven_bundle, capsys):
    assert cli.main([str(proven_bundle().path), *QUICK, "--threads", "1"]) == 0
    printed = capsys.readouterr()
    assert "bundle onnxruntime" in printed.out
    assert "1 thread for each candidate" in printed.err


def test_pixels_go_to_a_graph_that_takes_pixels(proven_bundle):
    assert cli.main([str(proven_bundle(dtype="uint8").path), *QUICK, "--threads", "1", "--end-to-end"]) == 0


def test_offline_says_how_the_threads_were_shared_out(proven_bundle, capsys):
    assert cli.main([str(proven_bundle().path), *QUICK, "--scenario", "offline", "--threads", "2", "--json"]) == 0
    (group,) = json.loads(capsys.readouterr().out)["groups"]
    (sessions,) = group["sessions"].values()
    assert sessions["sessions"] * sessions["threads"] * sessions["callers"] == 2
    assert "the best in a trial" in group["candidates"][0]["details"]["sessions"]


def test_two_bundles_and_a_peer(proven_bundle, fake_order, capsys):
    fake_order()  # for its PYTHONPATH
    paths = [str(proven_bundle(name).path) for name in ("one", "two")]
    assert cli.main([*paths, *QUICK, "--threads", "1", "--against", "fakes.peer", "--json"]) == 0
    (group,) = json.loads(capsys.readouterr().out)["groups"]
    names = [candidate["name"] for candidate in group["candidates"]]
    assert names == ["one onnxruntime", "two onnxruntime", "fakes.peer one", "fakes.peer two"]
    pairs = {(pair["candidate"], pair["against"]): pair["ratio"] for pair in group["pairs"]}
    assert len(pairs) == 4 * 3
    assert pairs["two onnxruntime", "fakes.peer one"] > 0


def test_a_peer_of_several_bundles_of_the_same_weights_is_timed_once(proven_bundle, fake_order, capsys):
    fake_order()
    weights = {"origin": "untrained", "state_sha256": "5" * 64}
    paths = [str(proven_bundle(name, weights=weights).path) for name in ("one", "two")]
    assert cli.main([*paths, *QUICK, "--threads", "1", "--against", "fakes.peer", "--json"]) == 0
    (group,) = json.loads(capsys.readouterr().out)["groups"]
    names = [candidate["name"] for candidate in group["candidates"]]
    assert names == ["one onnxruntime", "two onnxruntime", "fakes.peer one"]


def test_peers_start_cold_too_and_one_of_its_own_network_only_once(proven_bundle, fake_order, capsys, monkeypatch):
    fake_order()
    monkeypatch.setenv("FAKE_NETWORK", "EfficientNet-B0")
    paths = [str(proven_bundle(name).path) for name in ("one", "two")]
    assert cli.main([*paths, *QUICK, "--threads", "1", "--against", "fakes.peer", "--cold-start", "2", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in document["groups"][0]["candidates"]][2:] == ["fakes.peer"]
    assert [one["candidate"]["name"] for one in document["cold_starts"]][2:] == ["fakes.peer"]
    assert set(document["cold_starts"][2]["stages_s"][0]) == {"interpreter", "import", "load", "first answer"}


@pytest.mark.parametrize("what", ["crash at opening", "crash in a call", "lack"])
def test_a_peer_that_fails_does_not_end_the_run(proven_bundle, fake_order, capsys, monkeypatch, tmp_path, what):
    fake_order()
    monkeypatch.setenv("FAKE_WHAT", what)
    output = tmp_path / "run.json"
    arguments = ("--threads", "1", "--against", "fakes.peer", "--cold-start", "1", "-o", str(output))
    assert cli.main([str(proven_bundle().path), *QUICK, *arguments]) == 1
    record = from_json(json.loads(output.read_text()), "run.json")
    assert [candidate.name for candidate in record.groups[0].candidates] == ["bundle onnxruntime"]
    assert list(record.failed) == ["fakes.peer (single-stream, batch 1)", "fakes.peer (cold start)"]
    printed = capsys.readouterr()
    assert "levit-bench: failed: fakes.peer (cold start)" in printed.err
    assert "✗ Failed: fakes.peer (single-stream, batch 1)" in printed.out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--batch", "8"), 2, "takes a batch of 1 only, --batch 8 is asked for: export it with levit-export --dynamic"),
        (("--engine", "nonsense"), 2, "unknown engine 'nonsense': choose from onnxruntime"),
        (("--engine", "tensorrt"), 4, "levit-deploy[gpu]"),
        (("--against", "nobody"), 2, "unknown peer 'nobody'"),
        (("--min-seconds", "0"), 2, "above 0"),
        (("--min-seconds", "nan"), 2, "above 0"),
        (("--batch", "1,1"), 2, "none twice"),
        (("--output", "/no/such/folder/run.json"), 2, "existing folder"),
    ],
)
def test_what_cannot_be_done_is_refused(proven_bundle, capsys, arguments, code, message):
    assert cli.main([str(proven_bundle().path), *QUICK, "--threads", "1", *arguments]) == code
    assert message in capsys.readouterr().err


def test_wrong_logits_are_a_failed_check(proven_bundle, capsys):
    assert cli.main([str(proven_bundle(error=1.0).path), *QUICK, "--threads", "1"]) == 1
    assert "bundle onnxruntime: parity lost" in capsys.readouterr().err


def test_a_result_is_not_replaced_unasked(proven_bundle, tmp_path, capsys):
    output = tmp_path / "run.json"
    output.write_text("mine")
    assert cli.main([str(proven_bundle().path), *QUICK, "-o", str(output)]) == 2
    assert output.read_text() == "mine"


def test_help_names_every_engine(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    shown = "".join(capsys.readouterr().out.split())
    assert all(engine in shown for engine in ENGINES)


@pytest.mark.slow
def test_neither_torch_nor_the_extra_is_needed_and_no_file_is_left(proven_bundle, run_python, tmp_path):
    path = tmp_path / "absent"
    path.mkdir()
    for package in ABSENT:  # for the workers too, which start with the same search path
        (path / f"{package}.py").write_text(f"raise ImportError('{package} is blocked')\n", encoding="utf-8")
    python_path = os.pathsep.join([str(path), *filter(None, sys.path)])
    arguments = ("--threads", "1", *QUICK, "--cold-start", "1", "--end-to-end", "--json")
    result = run_python(WITHOUT_TORCH, proven_bundle().path, *arguments, PYTHONPATH=python_path)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["groups"]
    assert files_below(tmp_path) == []


def test_an_interrupt_leaves_neither_process_nor_file(proven_bundle, tmp_path):
    (tmp_path / "temporary").mkdir()
    arguments = (str(proven_bundle().path), "--threads", "1", "--min-seconds", "60")
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, *arguments],
        env=clean_environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr.readline().startswith("levit-bench: 1 thread")
    assert process.stdout.readline() == "opening\n"
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while not (workers := children.read_text().split()):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "levit-bench: interrupted\n")
    # One that was just being started ends by itself, when it finds its input closed.
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        time.sleep(0.02)
    assert files_below(tmp_path) == []

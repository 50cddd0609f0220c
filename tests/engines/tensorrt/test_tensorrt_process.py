"""The process that builds, replaced by scripts: whatever becomes of it is told in a line, and nothing is left of it."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures_bundle import BundleFactory
from onnx import helper, numpy_helper

from levit_deploy.errors import (
    BundleError,
    ConfigError,
    EnvironmentIncompleteError,
    ExportError,
    InputError,
    LevitError,
)
from levit_engines.built import BuildRequest
from levit_engines.tensorrt.building import build
from levit_engines.tensorrt.compatibility import platform_here
from levit_engines.tensorrt.order import BuildOrder, Outcome, ProfileOrder, failure_event, failure_of
from levit_engines.tensorrt.process import COMMAND, run_child

NETWORK = """
import json, sys
def tell(**event): print(json.dumps(event), flush=True)
"""


def child(code: str) -> tuple[str, ...]:
    return sys.executable, "-c", NETWORK + code


def events(folder: Path, code: str, **options: Any) -> list[Mapping[str, Any]]:
    return list(run_child(folder, command=child(code), **options))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", r"crashed \(signal 11, Segmentation fault\)"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGABRT)", r"crashed \(signal 6, Aborted\)"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", r"signal 9, Killed\) \(often a lack of memory\)"),
        ("sys.exit('broken')", "ended with status 1: broken"),
        ("pass", "ended without a result: no message"),
        ("print('{cut off'); tell(event='progress'); print([1])", "ended without a result"),
        ("tell(event='built'); sys.exit(3)", "ended with status 3"),
    ],
)
def test_a_child_that_dies_is_an_error_of_one_line(tmp_path: Path, code: str, words: str) -> None:
    with pytest.raises(ExportError, match=words) as caught:
        events(tmp_path, code)
    assert "\n" not in str(caught.value)


def test_what_a_child_says_arrives_while_it_runs_and_its_stderr_does_not_block_it(tmp_path: Path) -> None:
    code = "sys.stderr.write('x' * 1000000); tell(event='progress', done=1); tell(event='built', outcome={})"
    assert [event["event"] for event in events(tmp_path, code)] == ["progress", "built"]


def test_a_child_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(ExportError, match=r"did not finish within 0\.5 s"):
        events(tmp_path, "import time; time.sleep(60)", timeout_s=0.5)
    assert time.monotonic() - start < 20


def test_an_error_of_ours_keeps_its_kind(tmp_path: Path) -> None:
    code = "tell(event='failure', error='EnvironmentIncompleteError', message='no GPU')"
    with pytest.raises(EnvironmentIncompleteError, match="no GPU"):
        events(tmp_path, code)
    for kind in (BundleError, ConfigError, EnvironmentIncompleteError, ExportError, InputError):
        assert type(failure_of(failure_event(kind("text")))) is kind
    assert type(failure_of({"error": "SystemExit", "message": ""})) is ExportError


@pytest.mark.parametrize("reason", [KeyboardInterrupt, SystemExit, ValueError])
def test_whoever_stops_reading_ends_the_child(tmp_path: Path, reason: type[BaseException]) -> None:
    code = "import os, time; tell(event='progress', pid=os.getpid()); time.sleep(60)"
    numbers = []

    def read_one_and_stop() -> None:
        with closing(run_child(tmp_path, command=child(code))) as told:
            numbers.append(next(told)["pid"])
            raise reason

    with pytest.raises(reason):
        read_one_and_stop()
    with pytest.raises(ProcessLookupError):
        os.kill(numbers[0], 0)


def test_the_real_child_dies_with_its_parent(tmp_path: Path) -> None:
    """The parent is killed, so that it cannot end anything itself; the child waits for an order that is a pipe."""
    os.mkfifo(tmp_path / "order.json")
    code = f"""
import subprocess
child = subprocess.Popen({[*COMMAND, str(tmp_path)]!r}, stdin=subprocess.PIPE)
print(child.pid, flush=True)
child.wait()
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
    assert parent.stdout is not None
    number = int(parent.stdout.readline())
    # The child opens the pipe once it watches its parent.
    with (tmp_path / "order.json").open("w") as order:
        time.sleep(0.2)
        assert _alive(number)
        parent.send_signal(signal.SIGKILL)
        parent.wait(10)
        deadline = time.monotonic() + 20
        while _alive(number) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not _alive(number)
        order.flush()
    parent.stdout.close()


def _alive(number: int) -> bool:
    status = Path(f"/proc/{number}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_orders_and_outcomes_survive_the_way() -> None:
    profile = ProfileOrder(input="images", minimum=(1, 3), optimum=(2, 3), maximum=(4, 3))
    for shapes in (None, profile):
        order = BuildOrder(
            engine="tensorrt",
            profile=shapes,
            compute_capabilities=("8.6",),
            workspace_mib=None,
            timing_cache="/tmp/timings",
        )
        assert BuildOrder.from_text(order.to_text()) == order
    outcome = Outcome(version="1", targets=("8.6", "8.9"), gpu={}, engine={}, notes=("a",))
    assert Outcome.from_json(outcome.to_json()) == outcome


def test_a_network_that_was_not_promised_ends_the_build_before_it_begins(make_bundle: BundleFactory) -> None:
    record = "dict(inputs=[], outputs=[], dtypes={'HALF': 1}, casts={})"
    code = f"import time; tell(event='network', record={record}); time.sleep(60)"
    with pytest.raises(ExportError, match=r"another network: inputs were promised.*precision fp32 was asked for"):
        build(make_bundle(), "tensorrt-rtx", BuildRequest(), command=child(code))


def test_a_child_that_tells_half_is_not_believed(make_bundle: BundleFactory) -> None:
    outcome = "dict(version='', targets=[], gpu={}, engine={}, notes=[])"
    with pytest.raises(ExportError, match="without saying what it made"):
        build(make_bundle(), "tensorrt-rtx", BuildRequest(), command=child(f"tell(event='built', outcome={outcome})"))


@pytest.mark.parametrize(("kind", "fits"), [("FLOAT", True), ("HALF", False)])
def test_layers_of_another_type_than_asked_for_are_no_engine(make_bundle: BundleFactory, kind: str, fits: bool) -> None:
    """What an inspector says on a GPU is compared, whatever the parser said before."""
    record = {
        "inputs": [{"name": "images", "dtype": "FLOAT", "shape": [1, 3, 32, 32]}],
        "outputs": [{"name": "logits", "dtype": "FLOAT", "shape": [1, 5]}],
        "dtypes": {"FLOAT": 9},
        "casts": {},
    }
    gpu = {"name": "A", "compute_capability": "8.6", "driver": "CUDA 13.5"}
    engine = {"layer_count": 1, "layers": {"gemm": 1}, "dtypes": {"FLOAT": 1, kind: 2}}
    outcome = {"version": "1", "targets": ["8.6"], "gpu": gpu, "engine": engine, "notes": []}
    code = f"""
open(sys.argv[1] + "/network.plan", "wb").write(b"plan")
tell(event="network", record={record!r})
tell(event="built", outcome={outcome!r})
"""
    if fits:
        built = build(make_bundle(), "tensorrt", BuildRequest(), command=child(code))
        assert (built.network["engine"], built.network["built_on"]) == (engine, gpu)
        assert built.requirements == {"compute_capabilities": "8.6", "platform": platform_here()}
        return
    with pytest.raises(ExportError, match=r"asked for: precision fp32 .* the engine's tensors are FLOAT \(1\), HALF"):
        build(make_bundle(), "tensorrt", BuildRequest(), command=child(code))


@pytest.mark.parametrize(
    ("engine", "request_", "words"),
    [
        ("tensorrt", BuildRequest(compute_capabilities=("8.6",)), "--compute-capability: tensorrt builds for the GPU"),
        ("tensorrt-rtx", BuildRequest(timing_cache=Path("timings")), "--timing-cache: .* deprecated no-op"),
        ("tensorrt-rtx", BuildRequest(threads=2), "--threads: tensorrt-rtx runs on the GPU"),
        ("tensorrt-rtx", BuildRequest(compute_capabilities=("86",)), "expected is a number"),
        ("tensorrt-rtx", BuildRequest(workspace_mib=0), "--workspace-mib 0"),
        ("tensorrt-rtx", BuildRequest(min_batch=0), "--min-batch 0"),
        ("tensorrt-rtx", BuildRequest(max_batch=5), "--max-batch 5"),
        ("tensorrt-rtx", BuildRequest(min_batch=3, opt_batch=2), "--min-batch 3, --opt-batch 2"),
        ("openvino", BuildRequest(), "is not one of tensorrt, tensorrt-rtx"),
    ],
)
def test_options_are_refused_before_a_process_is_started(
    make_bundle: BundleFactory, engine: str, request_: BuildRequest, words: str
) -> None:
    bundle = make_bundle(batch="batch", maximum=4)
    with pytest.raises(ConfigError, match=words):
        build(bundle, engine, request_, command=("no such program",))


def test_a_graph_that_would_be_misread_never_reaches_the_library(make_bundle: BundleFactory) -> None:
    node = helper.make_node("QuantizeLinear", ["x", "scale"], ["y"], name="the_node")
    graph = helper.make_graph([node], "g", [], [], [numpy_helper.from_array(np.float32(1), "scale")])
    bundle = make_bundle(members={"model.onnx": helper.make_model(graph).SerializeToString()})
    with pytest.raises(BundleError, match=r"model\.onnx: .* node 'the_node' \(QuantizeLinear\): uint8") as caught:
        build(bundle, "tensorrt-rtx", BuildRequest(), command=("no such program",))
    assert caught.value.exit_code == 3


def test_garbage_never_reaches_the_library(make_bundle: BundleFactory) -> None:
    bundle = make_bundle(members={"model.onnx": b"\x01\x02garbage" * 9})
    with pytest.raises(LevitError, match=r"model\.onnx: not an ONNX file"):
        build(bundle, "tensorrt-rtx", BuildRequest(), command=("no such program",))


def test_a_missing_package_is_named_with_its_extra(make_bundle: BundleFactory) -> None:
    """The child is the real one; `tensorrt` is in no environment of ours."""
    if importlib.util.find_spec("tensorrt") is not None:
        pytest.skip("tensorrt is installed here")
    with pytest.raises(EnvironmentIncompleteError, match=r"TensorRT is not installed: pip install .*\[gpu\]"):
        build(make_bundle(), "tensorrt", BuildRequest())

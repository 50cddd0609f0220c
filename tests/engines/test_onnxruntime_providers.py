"""Execution providers fail closed: the whole graph where it was asked to run, or exit 4 with what is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fixtures_bundle import CLASSES, SIDE, BundleFactory, Runs, clean_environment, tiny_model

from levit_deploy.bundle import MODEL
from levit_deploy.errors import EnvironmentIncompleteError
from levit_deploy.onnxruntime_session import CPU_PROVIDER, CUDA_PROVIDER, SessionSettings, nodes_elsewhere, open_session
from levit_engines import open_runner
from levit_engines.onnxruntime.runner import BoundOnnxRuntimeRunner, OnnxRuntimeRunner

GPU_WHEEL = "onnxruntime-gpu==1.31.1"
OPEN_ON = """
import sys
from pathlib import Path
from levit_deploy.errors import LevitError
from levit_engines import open_runner
import onnxruntime
assert "CUDAExecutionProvider" in onnxruntime.get_available_providers()
for engine in ("onnxruntime-cuda", "onnxruntime-tensorrt"):
    try:
        open_runner(Path(sys.argv[1]), engine=engine)
    except LevitError as error:
        print(error.exit_code, error)
    else:
        print("opened", engine)
"""


def test_nodes_that_another_provider_runs_are_listed() -> None:
    settings = SessionSettings(entries={"session.record_ep_graph_assignment_info": "1"}, optimized=False)
    session = open_session(tiny_model(), settings)
    if not hasattr(session, "get_provider_graph_assignment_info"):
        pytest.skip("this ONNX Runtime does not tell which provider runs a node")
    assert nodes_elsewhere(session, CPU_PROVIDER) == ()
    elsewhere = nodes_elsewhere(session, CUDA_PROVIDER)
    assert len(elsewhere) >= 3
    assert any("MatMul" in node for node in elsewhere)


def test_a_provider_that_runs_nothing_is_refused_with_the_nodes(make_bundle: BundleFactory) -> None:
    import onnxruntime

    provider = "AzureExecutionProvider"  # comes with the CPU wheels and runs none of our operators
    if provider not in onnxruntime.get_available_providers():
        pytest.skip(f"this ONNX Runtime has no {provider}")
    with pytest.raises(EnvironmentIncompleteError, match=r"leaves \d+ nodes to the CPU: .*MatMul") as caught:
        open_session(tiny_model(), SessionSettings(provider=provider, optimized=False))
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("engine", ["onnxruntime-cuda", "onnxruntime-tensorrt"])
def test_a_build_without_the_provider_names_the_one_that_has_it(engine: str, make_bundle: BundleFactory) -> None:
    import onnxruntime

    if CUDA_PROVIDER in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has the GPU providers; the next test opens them")
    with pytest.raises(EnvironmentIncompleteError, match=r"levit-deploy\[gpu\]"):
        open_runner(make_bundle(), engine=engine)


@pytest.mark.slow
def test_gpu_providers_without_a_driver_fail_and_do_not_run_on_the_cpu(
    make_bundle: BundleFactory, tmp_path: Path
) -> None:
    if sys.version_info < (3, 11):
        pytest.skip(f"{GPU_WHEEL} has no wheel for this Python")
    if Path("/dev/nvidia0").exists():
        pytest.skip("this machine has a GPU: levit-verify --engine onnxruntime-cuda tests the provider itself")
    wheel = tmp_path / "wheel"
    # Beside the installed package, not over it: the two share their folder.
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(wheel), GPU_WHEEL]
    installed = subprocess.run(install, capture_output=True, text=True, timeout=500, check=False)
    if installed.returncode:
        pytest.skip(f"{GPU_WHEEL} cannot be installed: {installed.stderr.strip()[-200:]}")
    for folder in ("home", "temporary"):
        (tmp_path / folder).mkdir()
    result = subprocess.run(
        [sys.executable, "-c", OPEN_ON, str(make_bundle().path)],
        env=clean_environment(tmp_path) | {"PYTHONPATH": str(wheel)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    lines = result.stdout.splitlines()
    assert len(lines) == 2, result
    for line in lines:
        assert line.startswith("4 ")
        assert "could not start here" in line or "cannot start" in line
        assert "levit-doctor" in line


def test_bound_inputs_and_outputs_give_the_same_logits(make_bundle: BundleFactory) -> None:
    bundle = make_bundle(batch="batch", maximum=4)
    images = np.random.default_rng(2).normal(size=(3, 3, SIDE, SIDE)).astype(np.float32)
    session = open_session(bundle.read(MODEL))
    with (
        OnnxRuntimeRunner(bundle, session, engine="a", settings=SessionSettings(), provenance={}) as plain,
        BoundOnnxRuntimeRunner(
            bundle, session, engine="b", settings=SessionSettings(), provenance={}, device="cpu"
        ) as bound,
    ):
        first = bound.infer(images)
        kept = first.copy()
        np.testing.assert_array_equal(first, plain.infer(images))
        assert bound.infer(-images).shape == (3, CLASSES)
        np.testing.assert_array_equal(first, kept)


def test_importing_the_engines_loads_none(run_python: Runs) -> None:
    code = (
        "import sys, levit_engines, levit_engines.catalogue\n"
        "print({'numpy', 'onnxruntime', 'openvino', 'torch', 'tensorrt', 'tensorrt_rtx', 'cuda'} & set(sys.modules))"
    )
    assert run_python(code).stdout.strip() == "set()"

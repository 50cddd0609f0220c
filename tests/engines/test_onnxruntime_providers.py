"""Execution providers fail closed: the whole graph where it was asked to run, or exit 4 with what is missing."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from fixtures_bundle import CLASSES, SIDE, BundleFactory, Runs, clean_environment, tiny_model
from pip_helpers import run_pip

from levit_deploy.bundle import MODEL
from levit_deploy.errors import EnvironmentIncompleteError
from levit_deploy.onnxruntime_session import CPU_PROVIDER, CUDA_PROVIDER, SessionSettings, nodes_elsewhere, open_session
from levit_engines import open_runner
from levit_engines.catalogue import CATALOGUE
from levit_engines.onnxruntime.runner import BoundOnnxRuntimeRunner, OnnxRuntimeRunner

ROOT = Path(__file__).parents[2]
OPEN_ON = """
import sys
from pathlib import Path
from levit_deploy.errors import LevitError
from levit_engines import open_runner
for engine in sys.argv[2:]:
    try:
        open_runner(Path(sys.argv[1]), engine=engine)
    except LevitError as error:
        print(error.exit_code, error)
    else:
        print("opened", engine)
"""
PROFILE = {"min": 1, "opt": 1, "max": 4}
# What the provider takes from the driver: here it answers that there is no GPU, as NVIDIA's numbers say.
DRIVER = {
    "libcuda.so.1": (
        100,
        "cuCtxCreate_v4 cuCtxDestroy_v2 cuCtxGetCurrent cuCtxPopCurrent_v2 cuCtxPushCurrent_v2 cuCtxSetCurrent "
        "cuDestroyExternalMemory cuDestroyExternalSemaphore cuExternalMemoryGetMappedBuffer cuGetErrorString "
        "cuImportExternalMemory cuImportExternalSemaphore cuInit cuSignalExternalSemaphoresAsync cuStreamGetCtx "
        "cuWaitExternalSemaphoresAsync",
    ),
    "libnvidia-ml.so.1": (9, "nvmlErrorString nvmlInit_v2 nvmlShutdown nvmlSystemGetDriverVersion"),
}


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


@pytest.fixture
def open_on(make_bundle: BundleFactory, tmp_path: Path) -> Callable[..., list[str]]:
    """Open engines in a process that finds what is below tmp_path / "wheel" first; a line for each."""
    if sys.version_info < (3, 11) or platform.machine() != "x86_64":
        pytest.skip("ONNX Runtime's packages for GPUs are for Python 3.11 or later, and tested on x86_64")
    if Path("/dev/nvidia0").exists():
        pytest.skip("this machine has a GPU: levit-verify --engine tests the providers themselves")
    for folder in ("home", "temporary"):
        (tmp_path / folder).mkdir()
    path = make_bundle().path

    def run(*engines: str, **environment: str) -> list[str]:
        result = subprocess.run(
            [sys.executable, "-c", OPEN_ON, str(path), *engines],
            env=clean_environment(tmp_path) | {"PYTHONPATH": str(tmp_path / "wheel")} | environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        lines = result.stdout.splitlines()
        assert len(lines) == len(engines), result
        return lines

    return run


def install(distribution: str, folder: Path) -> None:
    """The release that the toolkit was tested with; beside the installed packages, not over them."""
    run_pip("install", "-q", "--no-deps", "-c", ROOT / "constraints.txt", "--target", folder, distribution)


@pytest.mark.slow
def test_gpu_providers_without_a_driver_fail_and_do_not_run_on_the_cpu(
    open_on: Callable[..., list[str]], tmp_path: Path
) -> None:
    install("onnxruntime-gpu", tmp_path / "wheel")
    for line in open_on("onnxruntime-cuda", "onnxruntime-tensorrt"):
        assert line.startswith("4 ")
        assert "could not start here" in line or "cannot start" in line
        assert "levit-doctor" in line


@pytest.mark.slow
def test_the_plug_in_provider_names_what_it_lacks(open_on: Callable[..., list[str]], tmp_path: Path) -> None:
    engine = "onnxruntime-tensorrt-rtx"
    install("onnxruntime-ep-nv-tensorrt-rtx-cu13", tmp_path / "wheel")
    (line,) = open_on(engine)
    assert line.startswith("4 ")
    assert line.endswith("cannot start here: libcuda.so.1 is missing, which comes with NVIDIA's driver")
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler, to stand in for a driver without a GPU")
    for library, (answer, functions) in DRIVER.items():
        source = "".join(f"int {name}(void) {{ return {answer}; }}\n" for name in functions.split())
        make = [compiler, "-shared", "-fPIC", "-x", "c", "-", "-o", str(tmp_path / library), f"-Wl,-soname,{library}"]
        subprocess.run(make, input=source, text=True, check=True, timeout=60)
    (line,) = open_on(engine, LD_LIBRARY_PATH=str(tmp_path))
    assert line.startswith("4 ")
    assert "no GPU of compute capability" in line


@pytest.mark.parametrize(
    ("engine", "expected"),
    [
        ("onnxruntime", {}),
        ("onnxruntime-cuda", {"use_tf32": "0"}),
        (
            "onnxruntime-tensorrt",
            {f"trt_profile_{name}_shapes": f"images:{size}x3x32x32" for name, size in PROFILE.items()},
        ),
        (
            "onnxruntime-tensorrt-rtx",
            {f"nv_profile_{name}_shapes": f"images:{size}x3x32x32" for name, size in PROFILE.items()},
        ),
    ],
    ids=str,
)
def test_providers_are_told_the_batch_sizes_and_the_precision(
    engine: str, expected: dict[str, str], make_bundle: BundleFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_model: bytes, settings: SessionSettings, **_: object) -> NoReturn:
        raise RuntimeError(settings)

    monkeypatch.setattr("levit_engines.onnxruntime.opening.open_session", stop)
    with pytest.raises(RuntimeError) as caught:
        open_runner(make_bundle(batch="batch", maximum=4), engine=engine)
    (settings,) = caught.value.args
    assert settings.provider == CATALOGUE[engine].provider
    assert settings.provider_options == expected


def test_bound_inputs_and_outputs_give_the_same_logits(make_bundle: BundleFactory) -> None:
    bundle = make_bundle(batch="batch", maximum=4)
    images = np.random.default_rng(2).normal(size=(3, 3, SIDE, SIDE)).astype(np.float32)
    session = open_session(bundle.read(MODEL))
    with (
        OnnxRuntimeRunner(bundle, session, engine="a", settings=SessionSettings(), provenance={}) as plain,
        BoundOnnxRuntimeRunner(bundle, session, engine="b", settings=SessionSettings(), provenance={}) as bound,
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

"""The edge runtime cross-compiled for 64-bit ARM and run under emulation: the same document as Python's on this CPU."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from levit_documents import python_document, require_alike

from levit_export.request import Precision

TOOLS = ("aarch64-linux-gnu-g++", "qemu-aarch64-static", "unshare")
LIBRARY = "LEVIT_AARCH64_ONNXRUNTIME"
IN_ONNXRUNTIME = ("--engine", "onnxruntime")
# ONNX Runtime reads there what processor it is on, which is not the emulated one, and crashes.
HIDDEN = "mount -t tmpfs none /sys && exec qemu-aarch64-static"


@pytest.fixture(scope="module")
def emulated(
    build_runtime: Callable[..., None], missing: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs levit-run for 64-bit ARM with these arguments."""
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if absent or LIBRARY not in os.environ or os.geteuid() != 0:
        missing(f"{', '.join(absent) or LIBRARY + ' or root'} is missing: see docs/how-to/runtime.md, 64-bit ARM")
    folder: Path = tmp_path_factory.mktemp("aarch64-build")
    build_runtime(folder, "levit-run", preset="aarch64", LEVIT_BUILD_TESTS="OFF")

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        script = f'{HIDDEN} "$0" "$@"'
        command = ["unshare", "-m", "sh", "-c", script, str(folder / "levit-run"), *map(str, arguments)]
        environment = os.environ | {"LEVIT_ONNXRUNTIME": os.environ[LIBRARY]}
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=500, env=environment)

    return run


@pytest.mark.slow
def test_golden_images_and_photographs_give_what_they_give_here(
    emulated: Any, small_bundle: Path, photographs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """It opens only when it reproduces all golden images; so do the photographs, decoded and resized there."""
    shown = emulated(small_bundle, *photographs, "--json")
    assert shown.returncode == 0, shown.stderr
    require_alike(
        json.loads(shown.stdout), python_document(capsys, small_bundle, *photographs, *IN_ONNXRUNTIME), tolerance=1e-5
    )


@pytest.mark.slow
def test_the_kernels_of_our_own_give_what_they_give_here(
    emulated: Any, small_bundle: Path, photographs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = emulated(small_bundle, *photographs, "--json", "--provider", "native")
    assert shown.returncode == 0, shown.stderr
    expected = {**python_document(capsys, small_bundle, *photographs, *IN_ONNXRUNTIME), "engine": "native"}
    require_alike(json.loads(shown.stdout), expected, tolerance=1e-5)


@pytest.mark.slow
def test_integers_give_the_same_classes_there(
    emulated: Any, exported: Any, photographs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """It opens only within the manifest's tolerance. Of what is rounded to integers, a last bit may be a whole step."""
    options = {"precision": Precision.INT8, "calibration": photographs[0].parent}
    bundle = exported(arch="128S", image_size=64, **options).bundle.path
    shown = emulated(bundle, *photographs, "--json")
    assert shown.returncode == 0, shown.stderr
    there = [image["top"][0] for image in json.loads(shown.stdout)["images"]]
    here = [image["top"][0] for image in python_document(capsys, bundle, *photographs, *IN_ONNXRUNTIME)["images"]]
    assert [best["class"] for best in there] == [best["class"] for best in here]
    assert [best["probability"] for best in there] == pytest.approx([best["probability"] for best in here], rel=0.15)


@pytest.mark.slow
def test_a_network_that_was_altered_does_not_open(
    emulated: Any, small_bundle: Path, photographs: list[Path], tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(small_bundle, tmp_path / "copy"))
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["golden_tolerance"] = [1e-12 for _ in manifest["golden_tolerance"]]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    shown = emulated(copy, photographs[0])
    assert shown.returncode == 1
    assert "golden" in shown.stderr

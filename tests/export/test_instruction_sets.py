"""int8 on processors without the instructions that this one may have, emulated by QEMU: the same numbers."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from integer_layers import PHOTOGRAPHS, linear_graph
from numpy.typing import NDArray

from levit_deploy.bundle import MODEL
from levit_deploy.preprocessing import normalize
from levit_export.precision import integers
from levit_export.precision.integers import Quantizer, Scheme
from levit_export.request import Calibration, Precision, Target

EMULATOR = "qemu-x86_64-static"
# Without AVX2, and with it but without VNNI: what ONNX Runtime has products of bytes of its own for.
PROCESSORS = ("Nehalem", "Haswell")
SATURATING = "Haswell"
SCRIPT = """
import sys
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
images = np.load(sys.argv[2])
name = session.get_inputs()[0].name
np.save(sys.argv[3], np.concatenate([session.run(None, {name: image[None]})[0] for image in images]))
"""

Run = Callable[[bytes, NDArray[Any], str], NDArray[np.float32]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """The outputs of a graph for each image, on ONNX Runtime on a processor; "" is this one."""
    if platform.machine() != "x86_64" or shutil.which(EMULATOR) is None:
        reason = f"{EMULATOR} is missing: apt-get install qemu-user-static on x86-64"
        pytest.fail(reason, pytrace=False) if os.environ.get("CI") else pytest.skip(reason)

    def run_here(model: bytes, images: NDArray[Any], processor: str) -> NDArray[np.float32]:
        graph, inputs, outputs = tmp_path / "model.onnx", tmp_path / "images.npy", tmp_path / "outputs.npy"
        graph.write_bytes(model)
        np.save(inputs, images)
        emulator = [EMULATOR, "-cpu", processor] if processor else []
        command = [*emulator, sys.executable, "-c", SCRIPT, str(graph), str(inputs), str(outputs)]
        shown = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        assert shown.returncode == 0, shown.stderr
        found: NDArray[np.float32] = np.load(outputs)
        return found

    return run_here


@pytest.mark.slow
def test_a_bundle_gives_the_same_classes_within_its_tolerance(run: Run, exported: Any) -> None:
    options = {"precision": Precision.INT8, "calibration": PHOTOGRAPHS}
    bundle = exported(arch="128S", image_size=64, **options).bundle
    golden, tolerance = bundle.golden(), np.array(bundle.manifest.golden_tolerance)
    images = normalize(golden.images, bundle.manifest.preprocessing)
    here = run(bundle.read(MODEL), images, "")
    for processor in PROCESSORS:
        there = run(bundle.read(MODEL), images, processor)
        assert (np.abs(there - golden.logits).max(axis=1) <= tolerance).all()
        # Products of integers are exact. A value that lies between two of them is rounded either way, for want of
        # the last bit, in a few of these images.
        differences = np.abs(there - here).max(axis=1)
        assert np.median(differences) < 1e-5
        assert (differences < 0.5 * tolerance).all(), processor
        np.testing.assert_array_equal(there.argmax(axis=1), here.argmax(axis=1))


def largest_products() -> tuple[onnx.ModelProto, NDArray[np.float32], NDArray[np.float32]]:
    """A layer whose weights and inputs are the largest of their range, its input and its output."""
    weight, image = np.full((64, 16), 0.5, np.float32), np.ones((1, 1, 1, 64), np.float32)
    return linear_graph(weight), image, np.full((1, 1, 1, 16), 32, np.float32)


@pytest.mark.parametrize("processor", PROCESSORS)
def test_seven_bits_do_not_saturate(run: Run, processor: str) -> None:
    graph, image, expected = largest_products()
    quantized = Quantizer(graph, [image], Calibration.MIN_MAX).quantize().model
    found = run(quantized.SerializeToString(), image, processor)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_eight_bits_would(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of the test above: what it says is there to be avoided is there."""
    scheme = Scheme(signed=False, symmetric=False, weight_bits=8)
    monkeypatch.setattr(integers, "SCHEMES", {Target.CPU: scheme})
    graph, image, expected = largest_products()
    quantized = Quantizer(graph, [image], Calibration.MIN_MAX).quantize().model
    found = run(quantized.SerializeToString(), image, SATURATING)
    assert (found < 0.6 * expected).all()

"""A small valid bundle without LeViT in it: the mean colour of the image, times a fixed matrix."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from levit_deploy.architectures import config_for
from levit_deploy.bundle import GOLDEN, LABELS, MODEL, PARITY, Bundle, Golden, write_bundle
from levit_deploy.manifest import BatchSizes, Manifest, TensorSpecification
from levit_deploy.preprocessing import preprocessing_for

SIDE = 32
CLASSES = 5
WEIGHTS = np.random.default_rng(0).normal(size=(3, CLASSES)).astype(np.float32)
Dimension = int | str


def tiny_model(dtype: str = "float32", batch: Dimension = 1, classes: int = CLASSES) -> bytes:
    """A graph from `images` (float32 NCHW, or uint8 NHWC that it normalises itself) to `logits`."""
    weights = np.resize(WEIGHTS, (3, classes))
    constants = {"weights": weights}
    nodes = [
        helper.make_node("GlobalAveragePool", ["normalized"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
    ]
    if dtype == "uint8":
        contract = preprocessing_for("untrained", SIDE)
        constants["mean"] = np.float32(255) * np.array(contract.mean, np.float32)
        constants["std"] = np.float32(255) * np.array(contract.std, np.float32)
        nodes[:0] = [
            helper.make_node("Cast", ["images"], ["numbers"], to=TensorProto.FLOAT),
            helper.make_node("Sub", ["numbers", "mean"], ["centred"]),
            helper.make_node("Div", ["centred", "std"], ["scaled"]),
            helper.make_node("Transpose", ["scaled"], ["normalized"], perm=[0, 3, 1, 2]),
        ]
        shape: list[Dimension] = [batch, SIDE, SIDE, 3]
    else:
        nodes[:0] = [helper.make_node("Identity", ["images"], ["normalized"])]
        shape = [batch, 3, SIDE, SIDE]
    element = TensorProto.UINT8 if dtype == "uint8" else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", element, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, classes])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def tiny_manifest(
    dtype: str = "float32", batch: Dimension = 1, maximum: int = 1, classes: int = CLASSES, **changes: Any
) -> Manifest:
    """The manifest that belongs to `tiny_model`; `maximum` counts for a dynamic batch."""
    size = batch if isinstance(batch, int) else None
    image = (SIDE, SIDE, 3) if dtype == "uint8" else (3, SIDE, SIDE)
    layout = "NHWC" if dtype == "uint8" else "NCHW"
    fields: dict[str, Any] = {
        "name": "tiny",
        "config": config_for("128S", num_classes=classes, image_size=SIDE),
        "precision": "fp32",
        "target": "cpu",
        "weights": {"origin": "official", "sha256": "0" * 64},
        "versions": {"levit-deploy": "0"},
        "preprocessing": preprocessing_for("untrained", SIDE),
        "input": TensorSpecification(name="images", dtype=dtype, layout=layout, shape=(batch, *image)),
        "outputs": (TensorSpecification(name="logits", dtype="float32", layout="NK", shape=(batch, classes)),),
        "batch_sizes": BatchSizes(minimum=size or 1, maximum=size or maximum, verified=(size or 1,)),
        "graph": {"opset": 17},
        "parity": {},
        "golden_tolerance": (1e-4, 1e-4),
        "members": {},
        "engines": {},
    }
    return Manifest(**{**fields, **changes})


def tiny_members(model: bytes | None = None, classes: int = CLASSES) -> dict[str, bytes]:
    """The files of a bundle, `model` or the plain `tiny_model` among them."""
    images = np.arange(2 * SIDE * SIDE * 3, dtype=np.uint32).astype(np.uint8).reshape(2, SIDE, SIDE, 3)
    golden = Golden(names=("first", "second"), images=images, logits=np.zeros((2, classes)))
    return {
        MODEL: tiny_model() if model is None else model,
        LABELS: "".join(f"name {index}\n" for index in range(classes)).encode(),
        GOLDEN: golden.to_bytes(),
        PARITY: b"{}\n",
    }


BundleFactory = Callable[..., Bundle]
Runs = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def make_bundle(tmp_path: Path) -> BundleFactory:
    """Write a bundle: dtype, batch, maximum, classes as in `tiny_manifest`; members replaces files."""

    def make(
        name: str = "bundle",
        *,
        dtype: str = "float32",
        batch: Dimension = 1,
        classes: int = CLASSES,
        members: Mapping[str, bytes] | None = None,
        **changes: Any,
    ) -> Bundle:
        files = tiny_members(tiny_model(dtype, batch, classes), classes) | dict(members or {})
        manifest = tiny_manifest(dtype, batch, classes=classes, **changes)
        return write_bundle(tmp_path / name, manifest, files)

    return make


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Seven PNG files of different colours and shapes."""
    files = []
    for number in range(7):
        colour = ((37 * number) % 256, (91 * number) % 256, (200 - 25 * number) % 256)
        files.append(tmp_path / f"image {number}.png")
        Image.new("RGB", (40 + number, 33 + 2 * number), colour).save(files[-1])
    return files


@pytest.fixture
def run_python(tmp_path: Path) -> Runs:
    """Run Python code in a new process whose home and temporary folder are empty, with no CI variable."""
    for folder in ("home", "temporary"):
        (tmp_path / folder).mkdir()

    def run(code: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            env=clean_environment(tmp_path) | environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def clean_environment(folder: Path) -> dict[str, str]:
    """What a process needs to find our packages, with `folder`/home and `folder`/temporary for its files."""
    return {
        "PATH": os.defpath,
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "temporary"),
    }


def command_without(module: str, packages: tuple[str, ...], *, also: str = "") -> str:
    """Python code that runs `main` of `module` where importing any of `packages` fails; `also` is checked after it."""
    return f"""
import sys
blocked = {packages!r}
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ImportError(f"{{name}} is blocked")
sys.meta_path.insert(0, Blocker())
from {module} import main
code = main()
assert not set(blocked) & set(sys.modules), sorted(sys.modules)
{also}
sys.exit(code)
"""


def files_below(folder: Path) -> list[str]:
    """Everything in the home and the temporary folder that `run_python` gives to a process."""
    found = [*(folder / "home").rglob("*"), *(folder / "temporary").rglob("*")]
    return [str(path) for path in found if path.is_file()]

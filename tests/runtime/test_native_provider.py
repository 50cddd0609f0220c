"""levit-run and liblevit on the kernels of levit-deploy: Python's logits to the last bit, and its words of refusal."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import levit_ctypes as levit
import numpy as np
import onnx
import pytest
from fixtures_bundle import BundleFactory
from levit_documents import python_document, require_alike
from native_kernels import needs_kernels, save_without_bias_of_one_key
from numpy.typing import NDArray
from onnx.external_data_helper import set_external_data

from levit_deploy.bundle import MANIFEST, MODEL, open_bundle
from levit_deploy.errors import BundleError, ConfigError
from levit_deploy.preprocessing import normalize
from levit_engines import open_runner
from levit_export.request import Precision, Target

pytestmark = needs_kernels
Images = NDArray[Any]
Edit = Callable[[onnx.GraphProto], object]

THREADS = 8
PHOTOGRAPHS = Path(__file__).parents[2] / "levit_deploy" / "data" / "photographs"
SMALL: dict[str, Any] = {"image_size": 32, "simplify": False, "batch": (1, 4)}
INT8: dict[str, Any] = {**SMALL, "precision": Precision.INT8, "calibration": PHOTOGRAPHS}
PIXELS_FOR_GPUS: dict[str, Any] = {"batch": (2, 2), "target": Target.GPU, "uint8_input": True}
EXPORTS: Mapping[str, dict[str, Any]] = {
    "fp32": {"arch": "128S", **SMALL},
    "another variant": {"arch": "256", **SMALL, "image_size": 64},
    "products, pixels, static batch": {"arch": "128S", **SMALL, **PIXELS_FOR_GPUS},
    "int8": {"arch": "128S", **INT8},
    "int8, pixels": {"arch": "128", **INT8, "uint8_input": True},
    "int8, some layers in float": {"arch": "128S", **INT8, "image_size": 64, "min_sqnr_db": 30.0},
}


@pytest.fixture(scope="module")
def library(runtime: Any) -> ctypes.CDLL:
    return levit.load(runtime.library)


def native(library: ctypes.CDLL, bundle: Path, threads: int = 1) -> levit.Classifier:
    options = levit.default_options(library)
    options.provider, options.threads = levit.NATIVE, threads
    return levit.Classifier(library, bundle, options)


def golden_images(bundle: Path) -> Images:
    """The golden images as the graph takes them."""
    opened = open_bundle(bundle)
    pixels = opened.golden().images
    return pixels if opened.manifest.input.dtype == "uint8" else normalize(pixels, opened.manifest.preprocessing)


def python_logits(bundle: Path, images: Images, threads: int = 1) -> NDArray[np.float32]:
    with open_runner(bundle, engine="native", threads=threads) as runner:
        step = runner.batch_sizes.maximum
        return np.concatenate([runner.infer(images[first : first + step]) for first in range(0, len(images), step)])


@pytest.mark.slow
@pytest.mark.parametrize("options", EXPORTS.values(), ids=EXPORTS.keys())
def test_logits_are_those_of_python_to_the_last_bit(
    options: dict[str, Any], library: ctypes.CDLL, exported: Any
) -> None:
    bundle = exported(**options).bundle.path
    images = golden_images(bundle)
    expected = python_logits(bundle, images, threads=2)
    for threads in (1, 2):
        with native(library, bundle, threads) as opened:
            assert opened.info().golden_images == len(images)  # which it has reproduced
            np.testing.assert_array_equal(opened.logits_of_tensor(images), expected)


def test_what_onnxsim_left_out_changes_no_bit(library: ctypes.CDLL, exported: Any, tmp_path: Path) -> None:
    checkpoint = save_without_bias_of_one_key(tmp_path / "weights.safetensors")
    bundle = exported(checkpoint=checkpoint, image_size=64, batch=(1, 4)).bundle.path
    images = golden_images(bundle)
    with native(library, bundle) as opened:
        np.testing.assert_array_equal(opened.logits_of_tensor(images), python_logits(bundle, images))


def test_levit_run_prints_the_document_of_levit_classify_without_onnxruntime(
    runtime: Any, small_bundle: Path, photographs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = os.environ | {"LEVIT_ONNXRUNTIME": str(tmp_path / "nowhere.so")}
    shown = runtime.run(small_bundle, *photographs, "--json", "--provider", "native", env=environment)
    assert shown.returncode == 0, shown.stderr
    assert shown.stderr.count("\n") == 1  # of its untrained weights
    found = json.loads(shown.stdout)
    assert (found["engine"], found["device"]) == ("native", "cpu")
    require_alike(found, python_document(capsys, small_bundle, *photographs, "--engine", "native"))
    assert runtime.run_in_onnxruntime(small_bundle, photographs[0], env=environment).returncode == 4


def test_the_self_test_passes_at_every_batch_size(runtime: Any, small_bundle: Path) -> None:
    shown = runtime.run(small_bundle, "--self-test", "--provider=native", "--threads", "2")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("self-test: 12 golden images reproduced, largest error ")
    assert shown.stdout.endswith("engine native, device cpu, threads 2\n")


def test_it_says_what_it_opened(library: ctypes.CDLL, small_bundle: Path) -> None:
    with native(library, small_bundle) as opened, open_runner(small_bundle, engine="native") as runner:
        info = opened.info()
        assert (info.provider, info.graph, info.note) == (b"native", b"model.onnx", b"")
        assert info.instruction_set.decode() == runner.provenance["instruction_set"]
        assert {info.onnxruntime_version, info.onnxruntime_library, info.tensorrt_version} == {b""}
        assert (info.batch_minimum, info.batch_maximum) == (1, 4)
    options = levit.default_options(library)
    options.provider = levit.CPU
    with levit.Classifier(library, small_bundle, options) as opened:
        assert opened.info().instruction_set == b""


def test_a_program_from_before_it_is_served(library: ctypes.CDLL, small_bundle: Path) -> None:
    """Its levit_info ends where the name of the instruction set begins now."""
    with native(library, small_bundle) as opened:
        known = opened.info()
        older = levit.Info(struct_size=levit.Info.instruction_set.offset, instruction_set=b"untouched")
        assert library.levit_get_info(opened._handle, ctypes.byref(older)) == levit.OK
    assert older.instruction_set == b"untouched"
    assert older.golden_share == known.golden_share
    assert older.tensorrt_library == b""


@pytest.mark.parametrize("threads", [1, 2])
def test_eight_threads_get_what_one_gets(threads: int, library: ctypes.CDLL, small_bundle: Path) -> None:
    images = golden_images(small_bundle)
    expected = python_logits(small_bundle, images)
    with native(library, small_bundle, threads) as opened, ThreadPoolExecutor(THREADS) as pool:

        def is_right(turn: int) -> bool:
            first, count = turn % 9, 1 + turn % 4
            found = opened.logits_of_tensor(images[first : first + count])
            return np.array_equal(found, expected[first : first + count])

        assert all(pool.map(is_right, range(40)))


@pytest.mark.parametrize(
    ("precision", "target", "said"),
    [
        ("fp16", "gpu", " is fp16, the provider native takes fp32 and int8: choose another provider, or export it"),
        ("bf16", "gpu", " is bf16, the provider native takes fp32 and int8: choose another provider, or export it"),
        ("int8", "gpu", " is int8 for GPUs, the provider native takes that for CPUs: export it with --target cpu\n"),
    ],
)
def test_what_it_does_not_take_is_refused(
    precision: str, target: str, said: str, runtime: Any, make_bundle: BundleFactory, images: list[Path]
) -> None:
    bundle = make_bundle(precision=precision, target=target)
    shown = runtime.run(bundle.path, images[0], "--provider", "native")
    assert (shown.returncode, shown.stdout) == (2, "")
    assert f"levit-run: error: {bundle.path}{said}" in shown.stderr
    assert shown.stderr.count("\n") == 1
    with pytest.raises(ConfigError):
        open_runner(bundle, engine="native")


def constant(graph: onnx.GraphProto, name: str) -> onnx.TensorProto:
    found: onnx.TensorProto = next(one for one in graph.initializer if one.name == name)
    return found


def changed(name: str, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Edit:
    def edit(graph: onnx.GraphProto) -> None:
        found = constant(graph, name)
        found.CopyFrom(onnx.numpy_helper.from_array(change(onnx.numpy_helper.to_array(found)), name))

    return edit


def added(name: str, value: NDArray[Any]) -> Edit:
    return lambda graph: graph.initializer.append(onnx.numpy_helper.from_array(value, name))


def elsewhere(name: str) -> Edit:
    return lambda graph: set_external_data(constant(graph, name), "weights.bin")


def cut(name: str) -> Edit:
    def edit(graph: onnx.GraphProto) -> None:
        found = constant(graph, name)
        found.raw_data = found.raw_data[:-4]

    return edit


def altered(bundle: Path, copy: Path, edit: Edit) -> Path:
    """A copy of `bundle` with another graph, which its manifest vouches for."""
    shutil.copytree(bundle, copy)
    model = onnx.load_model(copy / MODEL)
    edit(model.graph)
    content = model.SerializeToString()
    (copy / MODEL).write_bytes(content)
    manifest = json.loads((copy / MANIFEST).read_text())
    manifest["members"][MODEL] = {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (copy / MANIFEST).write_text(json.dumps(manifest))
    return copy


BIAS = "stages.1.blocks.0.mlp.contract.bias"
DAMAGES: Mapping[str, tuple[Edit, str]] = {
    "missing": (lambda graph: graph.initializer.remove(constant(graph, BIAS)), f"no constant is .* {BIAS}"),
    "left over": (added("scale", np.ones(3, np.float32)), "the network has no parameter scale"),
    "twice": (lambda graph: graph.initializer.append(constant(graph, BIAS)), f"two constants are {BIAS}"),
    "twice, as a product's": (
        added(f"{BIAS.removesuffix('.bias')}/MatMul_1:constant1", np.ones((512, 256), np.float32)),
        "two constants are .*contract.weight",
    ),
    "not float32": (changed(BIAS, lambda value: value.astype(np.float16)), f"{BIAS} is FLOAT16, wanted is FLOAT"),
    "of another shape": (changed(BIAS, lambda value: value[1:]), r"has shape \(255,\), the network's has \(256,\)"),
    "not flat": (changed("head.weight", lambda value: value[None]), r"has shape \(1, 1000, 384\), .* \(1000, 384\)"),
    "in another file": (elsewhere("head.weight"), "head.weight is in another file"),
    "cut": (cut("head.weight"), "head.weight is damaged"),
    "shared with what is no parameter": (
        lambda graph: graph.node.append(onnx.helper.make_node("Add", [BIAS], ["y"], "elsewhere.contract/Add")),
        "the network has no parameter elsewhere.contract.bias",
    ),
}


def require_same_refusal(runtime: Any, bundle: Path, said: str) -> None:
    """levit-run ends with exit code 3 and Python's words, in which is `said`."""
    with pytest.raises(BundleError, match=rf"{MODEL}: .*{said}.*; export it again") as refused:
        open_runner(bundle, engine="native")
    shown = runtime.run(bundle, "--self-test", "--provider", "native")
    assert (shown.returncode, shown.stdout) == (3, "")
    assert shown.stderr == f"levit-run: error: {refused.value}\n"


@pytest.mark.parametrize(("edit", "said"), DAMAGES.values(), ids=DAMAGES.keys())
def test_a_graph_that_is_not_its_networks_is_refused_in_pythons_words(
    edit: Edit, said: str, runtime: Any, small_bundle: Path, tmp_path: Path
) -> None:
    require_same_refusal(runtime, altered(small_bundle, tmp_path / "altered", edit), said)


def test_a_constant_that_equal_modules_share_serves_each(
    library: ctypes.CDLL, small_bundle: Path, tmp_path: Path
) -> None:
    """As the exporter leaves it: one constant, which two modules of a name read."""
    other = BIAS.replace("blocks.0", "blocks.1")

    def edit(graph: onnx.GraphProto) -> None:
        graph.initializer.remove(constant(graph, other))
        for node in graph.node:
            node.input[:] = [BIAS if name == other else name for name in node.input]

    bundle = altered(small_bundle, tmp_path / "altered", edit)
    images = golden_images(bundle)
    options = levit.default_options(library)
    options.provider, options.self_test = levit.NATIVE, 0  # the golden images are of other weights
    with levit.Classifier(library, bundle, options) as opened:
        np.testing.assert_array_equal(opened.logits_of_tensor(images), python_logits(bundle, images))


QUANTIZED = "stages.0.blocks.0.attention.qkv/DequantizeLinear_1:constant"
INT8_DAMAGES: Mapping[str, tuple[Edit, str]] = {
    "weights too large": (changed(f"{QUANTIZED}0", lambda value: np.full_like(value, 65)), "as levit-export writes"),
    "weights not int8": (changed(f"{QUANTIZED}0", lambda value: value.astype(np.int16)), "as levit-export writes"),
    "scales of zero": (changed(f"{QUANTIZED}1", lambda value: 0 * value), "as levit-export writes"),
    "scales for fewer outputs": (changed(f"{QUANTIZED}1", lambda value: value[1:]), "as levit-export writes"),
    "an offset of weights": (changed(f"{QUANTIZED}2", lambda value: value + 1), "as levit-export writes"),
    "of another network": (
        lambda graph: [changed(f"{QUANTIZED}{index}", lambda value: value[..., 1:])(graph) for index in range(3)],
        "qkv.weight is of another network",
    ),
    "a float constant left over": (added("scale", np.ones(3, np.float32)), "the network has no parameter scale"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("edit", "said"), INT8_DAMAGES.values(), ids=INT8_DAMAGES.keys())
def test_a_quantised_layer_that_is_not_ours_is_refused_in_pythons_words(
    edit: Edit, said: str, runtime: Any, exported: Any, tmp_path: Path
) -> None:
    bundle = exported(**EXPORTS["int8"]).bundle.path
    require_same_refusal(runtime, altered(bundle, tmp_path / "altered", edit), said)

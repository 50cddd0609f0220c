"""The runner on ONNX Runtime: what it promises, what it refuses, and that the caller's buffers are his."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from fixtures_bundle import CLASSES, SIDE, WEIGHTS, BundleFactory, Runs, tiny_model
from numpy.typing import NDArray

from levit_deploy.bundle import MODEL
from levit_deploy.errors import BundleError, ConfigError, InputError, RunnerError
from levit_deploy.manifest import BatchSizes
from levit_engines import open_runner


def some_images(count: int) -> NDArray[np.float32]:
    """(count, 3, S, S) reproducible images."""
    return np.random.default_rng(1).normal(size=(count, 3, SIDE, SIDE)).astype(np.float32)


def expected_logits(images: NDArray[np.float32]) -> NDArray[np.float64]:
    """What the tiny model computes."""
    return np.asarray(images.astype(np.float64).mean(axis=(2, 3)) @ WEIGHTS)


def test_logits_are_those_of_the_graph(make_bundle: BundleFactory) -> None:
    images = some_images(4)
    with open_runner(make_bundle(batch="batch", maximum=4).path) as runner:
        for count in (1, 3, 4):
            logits = runner.infer(images[:count])
            assert logits.dtype == np.float32
            np.testing.assert_allclose(logits, expected_logits(images[:count]), atol=1e-5)


def test_the_runner_says_what_it_is(make_bundle: BundleFactory) -> None:
    bundle = make_bundle(batch=2)
    with open_runner(bundle, threads=1) as runner:
        assert runner.input.shape == (2, 3, SIDE, SIDE)
        assert [output.name for output in runner.outputs] == ["logits"]
        assert runner.batch_sizes == BatchSizes(minimum=2, maximum=2, verified=(2,))
        assert (runner.device, runner.precision) == ("cpu", "fp32")
        assert runner.provenance["engine"] == "onnxruntime"
        assert runner.provenance["threads"] == "1"
        assert runner.provenance["model_sha256"] == bundle.manifest.members[MODEL].sha256
        assert all(isinstance(value, str) for value in runner.provenance.values())


def _fortran(images: NDArray[Any]) -> NDArray[Any]:
    return np.asfortranarray(images)


def _strided(images: NDArray[Any]) -> NDArray[Any]:
    doubled: NDArray[Any] = np.concatenate([images, images], axis=3)
    return doubled[..., :SIDE]


def _channels_last(images: NDArray[Any]) -> NDArray[Any]:
    channels_last = np.ascontiguousarray(np.moveaxis(images, 1, -1))
    return np.moveaxis(channels_last, -1, 1)


@pytest.mark.parametrize("lay_out", [_fortran, _strided, _channels_last])
def test_images_need_not_be_contiguous(lay_out: Any, make_bundle: BundleFactory) -> None:
    images = lay_out(some_images(2))
    assert not images.flags.c_contiguous
    with open_runner(make_bundle(batch=2)) as runner:
        np.testing.assert_allclose(runner.infer(images), expected_logits(images), atol=1e-5)


def test_buffers_belong_to_the_caller(make_bundle: BundleFactory) -> None:
    images = some_images(2)
    images.flags.writeable = False
    with open_runner(make_bundle()) as runner:
        first = runner.infer(images[:1])
        kept = first.copy()
        runner.infer(images[1:])
        np.testing.assert_array_equal(first, kept)
        first[:] = 0.0
        np.testing.assert_array_equal(runner.infer(images[:1]), kept)


def test_several_threads_may_infer_at_once(make_bundle: BundleFactory) -> None:
    images = some_images(32)
    with open_runner(make_bundle(), threads=2) as runner, ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(lambda index: runner.infer(images[index : index + 1]), range(len(images))))
    np.testing.assert_allclose(np.concatenate(rows), expected_logits(images), atol=1e-5)


GOOD = some_images(2)
REFUSED: dict[str, tuple[Any, str]] = {
    "float64": (GOOD.astype(np.float64), "float64"),
    "uint8": (GOOD.astype(np.uint8), "uint8"),
    "big endian": (GOOD.astype(">f4"), ">f4"),
    "too few": (GOOD[:1], "a batch of 1"),
    "too many": (np.concatenate([GOOD, GOOD]), "a batch of 4"),
    "none": (GOOD[:0], "a batch of 0"),
    "no batch": (GOOD[0], "(3, 32, 32)"),
    "other side": (GOOD[..., :-1], "(2, 3, 32, 31)"),
    "channels last": (GOOD.transpose(0, 2, 3, 1), "(2, 32, 32, 3)"),
    "scalar": (np.array(1.0, np.float32), "()"),
    "a list": (GOOD.tolist(), "list"),
    "NaN": (np.where(np.equal(GOOD, GOOD[1, 2, 31, 31]), np.float32("nan"), GOOD), "NaN"),
    "infinity": (np.where(np.equal(GOOD, GOOD[0, 0, 0, 0]), np.float32("inf"), GOOD), "infinity"),
    "both infinities": (np.copysign(np.full_like(GOOD, np.inf), GOOD), "infinity"),
}


@pytest.mark.parametrize(("images", "got"), REFUSED.values(), ids=REFUSED.keys())
def test_other_images_are_refused_and_described(images: Any, got: str, make_bundle: BundleFactory) -> None:
    with open_runner(make_bundle(batch=2)) as runner, pytest.raises(InputError) as caught:
        runner.infer(images)
    assert got in str(caught.value)
    assert "float32 (2, 3, 32, 32)" in str(caught.value) or "hold NaN" in str(caught.value)


def test_finite_images_whose_sum_overflows_are_taken(make_bundle: BundleFactory) -> None:
    with open_runner(make_bundle()) as runner:
        assert runner.infer(np.full((1, 3, SIDE, SIDE), 1e36, np.float32)).shape == (1, CLASSES)


def test_a_batch_above_the_maximum_is_refused(make_bundle: BundleFactory) -> None:
    with (
        open_runner(make_bundle(batch="batch", maximum=3)) as runner,
        pytest.raises(InputError, match=r"batch of 4, wanted is float32 \(1 to 3, 3, 32, 32\)"),
    ):
        runner.infer(some_images(4))


def test_a_closed_runner_says_so(make_bundle: BundleFactory) -> None:
    with open_runner(make_bundle()) as runner:
        pass
    runner.close()
    with pytest.raises(RunnerError, match="closed") as caught:
        runner.infer(some_images(1))
    assert caught.value.exit_code == 1


def test_a_failure_inside_the_engine_is_one_line(make_bundle: BundleFactory, capfd: pytest.CaptureFixture[str]) -> None:
    bundle = make_bundle(batch="batch", maximum=2, members={MODEL: _fails_when_run()})
    with (
        open_runner(bundle, engine="onnxruntime") as runner,
        pytest.raises(RunnerError, match=r"^ONNX Runtime failed: ") as caught,
    ):
        runner.infer(some_images(2))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def _fails_when_run() -> bytes:
    """The tiny model with a reshape to one row, whose size is computed so that loading cannot foresee it."""
    model = onnx.load_from_string(tiny_model(batch="batch"))
    nodes = model.graph.node
    before = [
        onnx.helper.make_node("ReduceMax", ["images"], ["largest"], keepdims=0),
        onnx.helper.make_node("Sub", ["largest", "largest"], ["zero"]),
        onnx.helper.make_node("Add", ["zero", "sizes"], ["added"]),
        onnx.helper.make_node("Cast", ["added"], ["shape"], to=onnx.TensorProto.INT64),
        onnx.helper.make_node("Reshape", ["pooled", "shape"], ["flat"]),
    ]
    kept = [node for node in nodes if node.op_type != "Flatten"]
    del nodes[:]
    nodes.extend([*kept[:-1], *before, kept[-1]])
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 3], np.float32), "sizes"))
    return bytes(model.SerializeToString())


def test_logits_of_another_shape_are_an_error(make_bundle: BundleFactory) -> None:
    squeezing = tiny_model(batch="batch").replace(b"Flatten", b"Squeeze")
    with (
        open_runner(make_bundle(batch="batch", maximum=2, members={MODEL: squeezing})) as runner,
        pytest.raises(RunnerError, match=r"logits are float32 \(5,\), the bundle promises float32 \(1, 5\)"),
    ):
        runner.infer(some_images(1))


def test_an_altered_model_is_never_loaded(make_bundle: BundleFactory) -> None:
    path = make_bundle().path
    (path / MODEL).write_bytes(tiny_model() + b"\0")
    with pytest.raises(BundleError, match=r"model\.onnx: altered"):
        open_runner(path)


def test_an_unknown_engine_lists_the_known(make_bundle: BundleFactory) -> None:
    with pytest.raises(ConfigError, match="unknown engine 'steam': choose from onnxruntime"):
        open_runner(make_bundle(), engine="steam")


def test_no_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="nothing: not a bundle"):
        open_runner(tmp_path / "nothing")


def test_importing_the_package_loads_no_engine(run_python: Runs) -> None:
    code = "import sys, levit_engines; print({'numpy', 'onnxruntime', 'torch'} & set(sys.modules))"
    assert run_python(code).stdout == "set()\n"

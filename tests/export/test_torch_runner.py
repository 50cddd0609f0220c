"""PyTorch's runners: the network that comes out of a graph's constants, what is refused, threads, and compilation."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from fixtures_bundle import BundleFactory, Runs, files_below
from numpy.typing import NDArray
from safetensors.torch import save_file

from levit_deploy.bundle import MODEL, Bundle, write_bundle
from levit_deploy.checkpoints import state_dict_for_timm
from levit_deploy.errors import BundleError, ConfigError, EnvironmentIncompleteError
from levit_deploy.fusion import fuse
from levit_deploy.initialization import randomize
from levit_deploy.manifest import BatchSizes
from levit_deploy.model import create_model
from levit_engines import open_runner
from levit_engines.parameters import read_parameters
from levit_engines.torch import compiling
from levit_engines.torch.network import rebuild
from levit_export.pipeline import ExportReport
from levit_export.request import Target

Exporter = Callable[..., ExportReport]
SMALL: dict[str, Any] = {"arch": "128S", "image_size": 32}
# Each pair of properties that can meet does: form, input, simplified or not, dynamic or not.
FORMS: dict[str, dict[str, Any]] = {
    "cpu float32 as traced": {"simplify": False, "batch": (1, 4)},
    "cpu uint8 simplified": {"uint8_input": True, "batch": (2, 2)},
    "gpu float32 simplified": {"target": Target.GPU, "batch": (1, 4)},
    "gpu uint8 as traced": {"target": Target.GPU, "uint8_input": True, "simplify": False, "top_k": 3, "batch": (2, 2)},
}


def images_of(bundle: Bundle, count: int) -> NDArray[Any]:
    sides, random = bundle.manifest.input.shape[1:], np.random.default_rng(5)
    if bundle.manifest.input.dtype == "uint8":
        return random.integers(0, 256, (count, *sides), dtype=np.uint8)
    return random.normal(size=(count, *sides)).astype(np.float32)


@pytest.fixture
def bundle(exported: Exporter) -> Bundle:
    return exported(**SMALL, simplify=False, batch=(1, 4)).bundle


@pytest.mark.slow
@pytest.mark.parametrize("options", FORMS.values(), ids=FORMS.keys())
def test_every_form_of_the_graph_gives_the_same_network(options: dict[str, Any], exported: Exporter) -> None:
    bundle = exported(**SMALL, **options).bundle
    images = images_of(bundle, 2)
    with (
        open_runner(bundle, engine="onnxruntime") as reference,
        open_runner(bundle, engine="torch-eager", threads=1) as runner,
    ):
        bound = max(bundle.manifest.golden_tolerance)
        np.testing.assert_allclose(runner.infer(images), reference.infer(images), atol=bound)


def test_the_weights_are_those_of_the_fused_network_bit_for_bit(exported: Exporter, tmp_path: Path) -> None:
    donor = create_model("128S", image_size=32)
    randomize(donor, 3)
    weights = {name: tensor.contiguous() for name, tensor in state_dict_for_timm(donor).items()}
    save_file(weights, tmp_path / "weights.safetensors")
    network = rebuild(exported(checkpoint=tmp_path / "weights.safetensors", simplify=False).bundle)
    expected = fuse(donor).state_dict()
    assert set(network.state_dict()) == set(expected)
    for name, value in network.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_opening_draws_no_random_numbers_and_leaves_nothing_to_train(bundle: Bundle) -> None:
    before = torch.random.get_rng_state()
    network = rebuild(bundle)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert {value.device.type for value in network.state_dict().values()} == {"cpu"}


def altered(bundle: Bundle, change: Callable[[onnx.GraphProto], None], folder: Path) -> Bundle:
    """`bundle` with another graph in it, and the hash of that one."""
    model = onnx.load_model_from_string(bundle.read(MODEL))
    change(model.graph)
    members = {name: bundle.read(name) for name in bundle.manifest.members}
    return write_bundle(folder / "altered", bundle.manifest, {**members, MODEL: model.SerializeToString()})


def _constant(graph: onnx.GraphProto, name: str) -> onnx.TensorProto:
    return next(constant for constant in graph.initializer if constant.name == name)


def _rename(graph: onnx.GraphProto) -> None:
    _constant(graph, "stages.1.blocks.0.mlp.expand.bias").name = "stages.1.blocks.0.mlp.expand.shift"


def _add(graph: onnx.GraphProto) -> None:
    graph.initializer.append(onnx.numpy_helper.from_array(np.ones(3, np.float32), "stages.7.gain"))


def _remove(graph: onnx.GraphProto) -> None:
    graph.initializer.remove(_constant(graph, "stages.0.blocks.1.attention.bias"))


def _reshape(graph: onnx.GraphProto) -> None:
    _constant(graph, "stem.conv2.weight").dims[:] = [16, 32, 3, 3]


def _halve(graph: onnx.GraphProto) -> None:
    constant = _constant(graph, "head.bias")
    value = onnx.numpy_helper.to_array(constant).astype(np.float16)
    constant.CopyFrom(onnx.numpy_helper.from_array(value, "head.bias"))


def _move_out(graph: onnx.GraphProto) -> None:
    constant = _constant(graph, "head.bias")
    constant.ClearField("raw_data")
    constant.data_location = onnx.TensorProto.EXTERNAL
    constant.external_data.add(key="location", value="/etc/hostname")


def _truncate(graph: onnx.GraphProto) -> None:
    constant = _constant(graph, "head.bias")
    constant.raw_data = constant.raw_data[:-5]


def _double(graph: onnx.GraphProto) -> None:
    value = np.zeros((384, 1000), np.float32)
    graph.initializer.append(onnx.numpy_helper.from_array(value, "head/MatMul:constant1"))


ALTERATIONS = {
    "renamed": (_rename, "the network has no parameter stages.1.blocks.0.mlp.expand.shift"),
    "added": (_add, "the network has no parameter stages.7.gain"),
    "removed": (_remove, "no constant is the network's parameter stages.0.blocks.1.attention.bias"),
    "reshaped": (_reshape, "stem.conv2.weight has shape"),
    "half precision": (_halve, "head.bias is FLOAT16"),
    "elsewhere": (_move_out, "head.bias is in another file"),
    "truncated": (_truncate, "head.bias is damaged"),
    "twice": (_double, "two constants are head.weight"),
}


@pytest.mark.parametrize(("change", "said"), ALTERATIONS.values(), ids=ALTERATIONS.keys())
def test_constants_that_are_not_the_network_are_named(
    change: Callable[[onnx.GraphProto], None], said: str, bundle: Bundle, tmp_path: Path
) -> None:
    with pytest.raises(BundleError, match=rf"model\.onnx: {said}") as caught:
        open_runner(altered(bundle, change, tmp_path), engine="torch-eager")
    assert "\n" not in str(caught.value)


def test_what_is_no_graph_is_refused() -> None:
    with pytest.raises(BundleError, match="m: not an ONNX graph"):
        read_parameters(b"\xff\xff no graph", name="m")


def test_a_graph_of_another_network_is_refused(make_bundle: BundleFactory) -> None:
    with pytest.raises(BundleError, match="has no parameter weights"):
        open_runner(make_bundle(), engine="torch-eager")


def test_another_precision_is_refused(make_bundle: BundleFactory) -> None:
    with pytest.raises(ConfigError, match="is fp16, the engine torch-eager takes fp32: choose from onnxruntime"):
        open_runner(make_bundle(precision="fp16"), engine="torch-eager")


def test_an_altered_model_is_never_loaded(make_bundle: BundleFactory) -> None:
    path = make_bundle().path
    (path / MODEL).write_bytes(b"other")
    with pytest.raises(BundleError, match=r"model\.onnx: altered"):
        open_runner(path, engine="torch-eager")


def test_the_number_of_threads_is_given_back(bundle: Bundle) -> None:
    before = torch.get_num_threads()
    with open_runner(bundle, engine="torch-eager", threads=3) as outer:
        assert torch.get_num_threads() == 3
        with open_runner(bundle, engine="torch-eager", threads=2) as inner:
            inner.infer(images_of(bundle, 1))
            assert torch.get_num_threads() == 2
            outer.infer(images_of(bundle, 1))
            assert torch.get_num_threads() == 3
            inner.infer(images_of(bundle, 1))
        assert torch.get_num_threads() == 3
        assert (outer.provenance["threads"], inner.provenance["threads"]) == ("3", "2")
    assert torch.get_num_threads() == before


def test_a_failed_opening_gives_the_threads_back(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no")

    before = torch.get_num_threads()
    monkeypatch.setattr(torch, "compile", lambda *_, **__: fail)
    with pytest.raises(Exception, match=r"torch\.compile failed: no"):
        open_runner(bundle, engine="torch-compile", threads=before + 2)
    assert torch.get_num_threads() == before


def test_autocast_around_the_call_changes_nothing(bundle: Bundle) -> None:
    images = images_of(bundle, 2)
    with open_runner(bundle, engine="torch-eager", threads=1) as runner:
        expected = runner.infer(images)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            np.testing.assert_array_equal(runner.infer(images), expected)


@pytest.mark.parametrize("sizes", [(1, 4), (2, 4), (3, 3)])
def test_nothing_is_compiled_after_opening(
    sizes: tuple[int, int], bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiled without a C++ compiler, which knows nothing of batch sizes, threads and modes; the rest is as ever."""
    compiled: list[object] = []

    def backend(graph: torch.fx.GraphModule, _: object) -> object:
        compiled.append(graph)
        return graph.forward

    original = torch.compile
    monkeypatch.setattr(torch, "compile", lambda network, **options: original(network, backend=backend, **options))
    batch_sizes = BatchSizes(minimum=sizes[0], maximum=sizes[1], verified=sizes)
    manifest = bundle.manifest
    if sizes[0] == sizes[1]:
        axis = (sizes[0],)
        outputs = tuple(replace(output, shape=axis + output.shape[1:]) for output in manifest.outputs)
        manifest = replace(
            manifest, input=replace(manifest.input, shape=axis + manifest.input.shape[1:]), outputs=outputs
        )
    changed = Bundle(bundle.path, replace(manifest, batch_sizes=batch_sizes))
    with (
        open_runner(changed, engine="torch-compile", threads=1) as runner,
        open_runner(changed, engine="torch-eager", threads=1) as eager,
    ):
        programs = len(compiled)
        assert programs == (sizes[0] == 1) + (sizes[1] > 1)

        def infer() -> None:
            for count in range(sizes[0], sizes[1] + 1):
                images = images_of(bundle, count)
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    np.testing.assert_allclose(runner.infer(images), eager.infer(images), atol=1e-5)

        infer()
        torch.set_num_threads(2)  # somebody else in the process
        infer()
        others = [threading.Thread(target=infer) for _ in range(3)]
        for thread in others:
            thread.start()
        for thread in others:
            thread.join()
    assert len(compiled) == programs


def test_networks_do_not_count_against_each_others_limit(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has two programs; a shared limit of two would leave none for the second network."""
    original = torch.compile
    monkeypatch.setattr(torch, "compile", lambda network, **options: original(network, backend="eager", **options))
    with (
        torch._dynamo.config.patch(recompile_limit=2),
        open_runner(bundle, engine="torch-compile", threads=1) as first,
        open_runner(bundle, engine="torch-compile", threads=1) as second,
    ):
        images = images_of(bundle, 3)
        np.testing.assert_array_equal(first.infer(images), second.infer(images))


OPEN = """
import sys
from pathlib import Path
from levit_deploy.errors import LevitError
from levit_engines import open_runner
try:
    open_runner(Path(sys.argv[1]), engine=sys.argv[2], threads=1)
except LevitError as error:
    print(type(error).__name__, error.exit_code, error)
"""


def test_a_missing_compiler_is_named(bundle: Bundle, run_python: Runs, tmp_path: Path) -> None:
    shown = run_python(OPEN, bundle.path, "torch-compile", PATH=str(tmp_path), CXX=str(tmp_path / "c++")).stdout
    assert shown.startswith("EnvironmentIncompleteError 4 torch.compile needs a C++ compiler")
    assert "CXX" in shown
    assert str(tmp_path / "c++") in shown
    assert not [path for path in files_below(tmp_path) if "/home/" in path]


@pytest.mark.parametrize("engine", ["torch-eager", "torch-compile"])
def test_without_pytorch_the_extra_is_named(engine: str, make_bundle: BundleFactory, run_python: Runs) -> None:
    shown = run_python("import sys; sys.modules['torch'] = None" + OPEN, make_bundle().path, engine).stdout
    assert shown.startswith("EnvironmentIncompleteError 4 PyTorch cannot be imported")
    assert 'pip install "levit-deploy[export]"' in shown


def test_importing_the_engine_imports_no_pytorch(run_python: Runs) -> None:
    assert run_python("import sys, levit_engines.torch; print('torch' in sys.modules)").stdout == "False\n"


def test_what_a_compiler_says_is_one_short_line() -> None:
    error = compiling.refusal(RuntimeError("\n\nfirst " + "x" * 1000 + "\nsecond"))
    assert not isinstance(error, EnvironmentIncompleteError)
    assert str(error).startswith("torch.compile failed: first x")
    assert len(str(error)) < 400

"""Real builds with TensorRT-RTX, which needs no GPU for them; nothing is run."""

import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from fixtures_bundle import BundleFactory
from integer_layers import PHOTOGRAPHS
from onnx import TensorProto, helper, numpy_helper
from tensorrt_fakes import FakeCuda

from levit_deploy import fusion
from levit_deploy.architectures import VARIANTS
from levit_deploy.bundle import MODEL, Bundle, open_bundle, sha256_of
from levit_deploy.bundle_engines import add_engine
from levit_deploy.engine_entry import EngineEntry, Profile
from levit_deploy.errors import BundleError, ConfigError, EnvironmentIncompleteError, ExportError
from levit_engines.built import BuildRequest, Built
from levit_engines.tensorrt import build, open_runner
from levit_engines.tensorrt.building import _why_not_here
from levit_engines.tensorrt.compatibility import platform_here
from levit_engines.tensorrt.devices import Gpu, gpu_or_reason
from levit_engines.tensorrt.execution import Execution
from levit_engines.tensorrt.flavours import FLAVOURS, load_library
from levit_engines.tensorrt.optional_api import TargetingLibrary
from levit_engines.tensorrt.order import MODEL as ORDERED_MODEL
from levit_engines.tensorrt.order import ORDER, PLAN, BuildOrder, Outcome, ProfileOrder
from levit_engines.tensorrt.process import run_child
from levit_export import pipeline
from levit_export.request import Precision, Target

pytestmark = pytest.mark.usefixtures("rtx")
RTX = "tensorrt-rtx"
ATTENTION_OPSET = 23


def attention_graph(dtype: int, key: int, value: int) -> bytes:
    """The operator Attention on queries and keys of `key` values a head, and values of `value`."""
    sides = {"q": key, "k": key, "v": value}
    inputs = [helper.make_tensor_value_info(name, dtype, [1, 4, 16, side]) for name, side in sides.items()]
    node = helper.make_node("Attention", ["q", "k", "v"], ["y"], name="the_attention")
    outputs = [helper.make_tensor_value_info("y", dtype, [1, 4, 16, value])]
    graph = helper.make_graph([node], "g", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", ATTENTION_OPSET)], ir_version=10)
    return bytes(model.SerializeToString())


def graph_with(*nodes: onnx.NodeProto) -> bytes:
    """images -> nodes -> logits of 5 classes, at the sides of the tiny bundle."""
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 32, 32])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 5])
    graph = helper.make_graph(nodes, "g", [image], [logits])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.example", 1)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())


def planned(model: bytes, profile: ProfileOrder | None = None) -> bytes:
    """The plan of `model`, made as `build` makes it: in a process of its own."""
    order = BuildOrder(engine=RTX, profile=profile, compute_capabilities=(), workspace_mib=None, timing_cache=None)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / ORDERED_MODEL).write_bytes(model)
        (folder / ORDER).write_text(order.to_text(), encoding="utf-8")
        for _ in run_child(folder):
            pass
        return (folder / PLAN).read_bytes()


def added(bundle: Bundle, built: Built, **changes: Any) -> Bundle:
    """`bundle` with what was built filed in it."""
    fields: dict[str, Any] = {
        "files": tuple(built.files),
        "model_sha256": bundle.manifest.members[MODEL].sha256,
        "libraries": built.libraries,
        "requirements": built.requirements,
        "profile": built.profile,
        "options": built.options,
        "network": built.network,
        "machine": {},
        "build_seconds": 1.0,
        "verified": "",
    }
    return add_engine(bundle, RTX, EngineEntry(**{**fields, **changes}), built.files)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [(1, 4), (2, 2)], ids=["dynamic", "static"])
@pytest.mark.parametrize("arch", VARIANTS)
def test_every_variant_builds_and_is_what_the_manifest_promises(traced: Any, arch: str, batch: tuple[int, int]) -> None:
    pixels = {"uint8_input": True, "top_k": 3} if arch == "128" else {}
    bundle = traced(arch=arch, batch=batch, **pixels)
    built = build(bundle, RTX, BuildRequest())
    assert built.profile == Profile(minimum=batch[0], optimum=batch[0], maximum=batch[1])
    # What a manifest keeps, it reads again.
    entry = added(bundle, built).manifest.engines[RTX]
    assert entry.requirements == {"compute_capabilities": "8.0, 8.6, 8.9, 12.0, 12.1", "platform": platform_here()}

    model = onnx.load_model_from_string(bundle.read(MODEL))
    operators = Counter(node.op_type for node in model.graph.node)
    record = built.network
    assert record["layers"]["CONVOLUTION"] == operators["Conv"]
    assert record["layers"]["MATRIX_MULTIPLY"] == operators["MatMul"] + operators["Gemm"]
    assert record["layers"]["SOFTMAX"] == operators["Softmax"] >= sum(bundle.manifest.config.depths) + 2
    assert record["layer_count"] == sum(record["layers"].values()) < 3 * len(model.graph.node)
    assert record["casts"] == ({"UINT8 to FLOAT": 1} if pixels else {})
    assert {"HALF", "BF16", "INT8"}.isdisjoint(record["dtypes"])
    assert len(record["outputs"]) == (3 if pixels else 1)
    assert record["attention"]["fused"] is False

    plan = built.files[PLAN]
    assert 0.5 < len(plan) / sum(numpy_helper.to_array(tensor).nbytes for tensor in model.graph.initializer) < 3
    if batch == (2, 2) and arch == "128S":
        assert planned(bundle.read(MODEL)) == plan
    elif arch == "128S":
        # The library numbers the names that it makes up for its arithmetic of shapes, each time otherwise: the same
        # bytes but for some digits, though not in the same places.
        sides = [int(side) for side in bundle.manifest.input.shape[1:]]
        profile = ProfileOrder(input="images", minimum=(1, *sides), optimum=(1, *sides), maximum=(4, *sides))
        again = planned(bundle.read(MODEL), profile)
        counts = [np.bincount(np.frombuffer(content, np.uint8), minlength=256) for content in (again, plan)]
        assert np.abs(counts[0] - counts[1]).sum() < 1e-4 * len(plan)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [(1, 4), (2, 2)], ids=["dynamic", "static"])
@pytest.mark.parametrize("precision", [Precision.FP16, Precision.BF16])
@pytest.mark.parametrize("arch", VARIANTS)
def test_every_attention_is_fused_in_half_precision(
    traced: Any, arch: str, precision: Precision, batch: tuple[int, int]
) -> None:
    """At the resolution of the paper: which kernels there are depends on the number of tokens."""
    bundle = traced(arch=arch, precision=precision, target=Target.GPU, batch=batch, image_size=224)
    built = build(bundle, RTX, BuildRequest(compute_capabilities=("8.6", "8.9", "12.0")))
    attention = built.network["attention"]
    assert (attention["fused"], attention["count"]) == (True, sum(bundle.manifest.config.depths) + 2)
    kind = {"fp16": "HALF", "bf16": "BF16"}[precision.value]
    assert kind in built.network["dtypes"]
    assert len(built.files[PLAN]) < 1.5 * sum(
        numpy_helper.to_array(tensor).nbytes for tensor in onnx.load_from_string(bundle.read(MODEL)).graph.initializer
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arch", "batch"), [*((arch, (1, 4)) for arch in VARIANTS), ("128S", (2, 2))], ids=[*VARIANTS, "128S-static"]
)
def test_integers_build_and_leave_every_attention_fused(traced: Any, arch: str, batch: tuple[int, int]) -> None:
    bundle = traced(
        arch=arch, precision=Precision.INT8, target=Target.GPU, batch=batch, image_size=224, calibration=PHOTOGRAPHS
    )
    built = build(bundle, RTX, BuildRequest(compute_capabilities=("8.6", "8.9", "12.0")))
    attention = built.network["attention"]
    assert (attention["fused"], attention["count"]) == (True, sum(bundle.manifest.config.depths) + 2)
    assert {"HALF", "INT8"} <= set(built.network["dtypes"])
    operators = Counter(node.op_type for node in onnx.load_from_string(bundle.read(MODEL)).graph.node)
    assert operators["QuantizeLinear"] == operators["MatMul"] > 40
    # Weights that TensorRT finds no integer kernel for are cast and multiplied by their scale first (CastMul).
    kernels = re.findall(rb"function=\{ name=(\w+)", built.files[PLAN])
    # Layers that are alike share a kernel.
    assert sum(name.count(b"RounCast") for name in kernels) > 0.9 * operators["QuantizeLinear"]
    assert not [name for name in kernels if b"CastMul" in name]


def test_integers_for_cpus_are_refused(traced: Any) -> None:
    bundle = traced(arch="128S", precision=Precision.INT8, batch=(1, 4), calibration=PHOTOGRAPHS)
    with pytest.raises(BundleError, match="uint8, which TensorRT silently reads as int8"):
        build(bundle, RTX, BuildRequest())


def attend_unpadded(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """The operator Attention on queries, keys and values as LeViT has them."""
    operands, shape = (query, key, value, bias[None]), (*query.shape[:3], value.shape[-1])
    mixed = torch.onnx.ops.symbolic(
        "Attention", operands, {"scale": 1.0}, dtype=query.dtype, shape=shape, version=ATTENTION_OPSET
    )
    return mixed.transpose(1, 2).flatten(2)


def test_without_the_zeros_no_attention_is_fused(traced: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control of the test above."""
    monkeypatch.setattr(pipeline, "packed_form", lambda fused, **_: fused)
    monkeypatch.setattr(fusion, "attend", attend_unpadded)
    bundle = traced(arch="128S", precision=Precision.FP16, target=Target.GPU, batch=(1, 4), seed=1)
    with pytest.raises(BundleError, match="Key and Value must have the same shape"):
        build(bundle, RTX, BuildRequest())


def test_the_same_input_gives_the_same_bytes_and_another_one_does_not(make_bundle: BundleFactory) -> None:
    bundle = make_bundle(batch="batch", maximum=4)
    first, second = (build(bundle, RTX, BuildRequest(workspace_mib=64)) for _ in range(2))
    other = build(bundle, RTX, BuildRequest(max_batch=2))
    assert sha256_of(first.files[PLAN]) == sha256_of(second.files[PLAN])
    assert sha256_of(first.files[PLAN]) != sha256_of(other.files[PLAN])
    assert first.network == second.network
    assert first.options == {"workspace_mib": "64"}


def test_several_compute_capabilities_in_any_order_are_one_plan(make_bundle: BundleFactory) -> None:
    bundle = make_bundle()
    orders = (("12.0", "8.6", "8.9"), ("8.6", "8.9", "12.0"))
    plans = [build(bundle, RTX, BuildRequest(compute_capabilities=order)) for order in orders]
    assert plans[0].files == plans[1].files
    assert plans[0].requirements["compute_capabilities"] == "8.6, 8.9, 12.0"
    assert plans[0].libraries == {"tensorrt_rtx": load_library(FLAVOURS[RTX]).__version__}
    with pytest.raises(ConfigError, match=r"9\.0: this release of TensorRT-RTX builds for .*8\.6"):
        build(bundle, RTX, BuildRequest(compute_capabilities=("9.0",)))
    assert isinstance(load_library(FLAVOURS[RTX]), TargetingLibrary)


def test_what_a_gpu_cannot_do_is_said_by_the_library(make_bundle: BundleFactory) -> None:
    with pytest.raises(ExportError, match=r"model\.onnx: TensorRT-RTX could not build .*SM75.*FP32 GEMM") as caught:
        build(make_bundle(), RTX, BuildRequest(compute_capabilities=("7.5",)))
    assert "\n" not in str(caught.value)


def test_progress_grows_to_the_end_and_what_it_raises_cancels(make_bundle: BundleFactory) -> None:
    told: list[tuple[str, int, int]] = []
    build(make_bundle(), RTX, BuildRequest(), lambda *event: told.append(event))
    figures = [done for _, done, _ in told]
    assert figures == sorted(set(figures))
    assert told[-1][1] == told[-1][2]

    def cancel(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(make_bundle("other"), RTX, BuildRequest(), cancel)


def test_every_node_that_the_parser_refuses_is_named(make_bundle: BundleFactory) -> None:
    model = graph_with(
        helper.make_node("Det", ["images"], ["a"], name="the_determinant"),
        helper.make_node("Strange", ["a"], ["logits"], name="the_stranger", domain="com.example"),
    )
    with pytest.raises(BundleError, match=r"model\.onnx: TensorRT-RTX cannot read the graph: ") as caught:
        build(make_bundle(members={MODEL: model}), RTX, BuildRequest())
    text = str(caught.value)
    assert "node 'the_determinant' (Det): unsupported node" in text
    assert "node 'the_stranger' (Strange): " in text
    assert "\n" not in text
    assert "cudaError" not in text


def test_a_graph_of_another_shape_than_promised_is_said_before_it_is_built(make_bundle: BundleFactory) -> None:
    nodes = [helper.make_node("GlobalAveragePool", ["images"], ["a"]), helper.make_node("Flatten", ["a"], ["logits"])]
    with pytest.raises(ExportError, match=r"outputs were promised as logits FLOAT \[1, 5\].*has logits FLOAT \[1, 3\]"):
        build(make_bundle(members={MODEL: graph_with(*nodes)}), RTX, BuildRequest())


def test_pixels_are_cast_once_and_before_they_are_transposed(make_bundle: BundleFactory) -> None:
    built = build(make_bundle(dtype="uint8", batch="batch", maximum=4), RTX, BuildRequest())
    assert built.network["casts"] == {"UINT8 to FLOAT": 1}
    image, result = (helper.make_tensor_value_info(name, TensorProto.UINT8, [2, 2]) for name in "xy")
    graph = helper.make_graph(
        [helper.make_node("Transpose", ["x"], ["y"], name="the_transpose")], "g", [image], [result]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    with pytest.raises(BundleError, match=r"'the_transpose' \(Transpose\): .*type UInt8"):
        planned(model.SerializeToString())


def test_an_engine_for_other_gpus_is_said_not_to_run_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said of a GPU that is not there, and of what a build on it tells; whatever this machine has."""
    gpu = Gpu(name="A", capability=(8, 9), driver="CUDA 13.5")
    monkeypatch.setattr("levit_engines.tensorrt.building.gpu_or_reason", lambda _: (gpu, ""))

    def why_not(target: str, **engine: str) -> str:
        return _why_not_here(FLAVOURS[RTX], Outcome(version="", targets=(target,), gpu={}, engine=engine))

    assert why_not("8.9") == ""
    assert why_not("8.9", not_inspected="unsupported") == "TensorRT-RTX could not load it on the GPU here: unsupported"
    elsewhere = "the GPU here has compute capability 8.9, the engine is for 8.6"
    assert why_not("8.6") == why_not("8.6", not_inspected="unsupported") == elsewhere


def test_an_empty_graph_and_garbage_are_refused() -> None:
    with pytest.raises(BundleError, match="found nothing in the graph"):
        planned(b"")
    with pytest.raises(BundleError, match="cannot read the graph: model deserialize failed"):
        planned(b"\x01\x02garbage" * 20)


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        (None, "no optimization profile has been defined"),
        (((2, 4), (1, 4), (3, 4)), "refused the shapes"),
        (((1, 5), (1, 5), (3, 5)), "Dimension mismatch"),
    ],
)
def test_shapes_that_do_not_fit_are_errors(profile: Any, words: str) -> None:
    image, result = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [image], [result])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()
    order = None
    if profile is not None:
        order = ProfileOrder(input="x", minimum=profile[0], optimum=profile[1], maximum=profile[2])
    with pytest.raises(ExportError, match=words) as caught:
        planned(model, order)
    assert "cudaError" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_operator_attention_builds_only_where_it_is_fused() -> None:
    assert planned(attention_graph(TensorProto.FLOAT16, 32, 32))
    with pytest.raises(ExportError, match="not supported by a dedicated kernel"):
        planned(attention_graph(TensorProto.FLOAT, 32, 32))
    with pytest.raises(BundleError, match=r"the_attention.*Key and Value must have the same shape"):
        planned(attention_graph(TensorProto.FLOAT16, 16, 32))


def test_a_runner_says_what_is_missing_in_order(make_bundle: BundleFactory) -> None:
    gpu, reason = gpu_or_reason("gpu")
    if gpu is not None:
        pytest.skip("this machine has a GPU")
    bundle = make_bundle()
    with pytest.raises(EnvironmentIncompleteError, match="has no engine tensorrt-rtx yet"):
        open_runner(bundle, RTX)
    built = build(bundle, RTX, BuildRequest())
    assert built.runs_here == reason != ""
    with pytest.raises(EnvironmentIncompleteError, match="NVIDIA"):
        open_runner(added(bundle, built), RTX)
    other = make_bundle("other")
    older = added(other, built, libraries={"tensorrt_rtx": "1.6.1"})
    version = load_library(FLAVOURS[RTX]).__version__
    with pytest.raises(EnvironmentIncompleteError, match=f"built with TensorRT-RTX 1.6.1, this is {version}: run"):
        open_runner(older, RTX)


def test_the_real_runtime_judges_containers(make_bundle: BundleFactory) -> None:
    """Past the manifest's hash, on a machine without a GPU: what is no plan is told from one that only lacks a GPU."""
    if gpu_or_reason("gpu")[0] is not None:
        pytest.skip("this machine has a GPU")
    bundle = make_bundle()
    plan = build(bundle, RTX, BuildRequest()).files[PLAN]
    library = load_library(FLAVOURS[RTX])
    for content, words in (
        (plan[:-5], "not a whole plan .*plan.header.size == blobSize"),
        (plan + b"x", "not a whole plan .*plan.header.size == blobSize"),
        (b"ABCD" + plan[4:], "malformed engine"),
        (bundle.read(MODEL), "malformed engine"),
        (b"", "malformed engine"),
        (plan, "this GPU and its driver cannot load it .*cudaError 35.*: run THE COMMAND here"),
    ):
        cuda = FakeCuda()
        manifest = bundle.manifest
        execution = Execution(library, cuda, images=manifest.input, outputs=manifest.outputs, maximum=1, graphs=False)
        error = EnvironmentIncompleteError if content == plan else BundleError
        with pytest.raises(error, match=words):
            execution.load(content, "the plan", "THE COMMAND")
        execution.close()
        assert cuda.live == 0


def test_a_plan_that_was_altered_is_found_by_its_hash(
    make_bundle: BundleFactory, monkeypatch: pytest.MonkeyPatch
) -> None:

    bundle = make_bundle()
    changed = added(bundle, build(bundle, RTX, BuildRequest()))
    (name,) = changed.manifest.engines[RTX].files
    path = changed.path / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    monkeypatch.setattr("levit_engines.tensorrt.runner.load_cuda", lambda _: FakeCuda((8, 6)))
    with pytest.raises(BundleError, match="altered or damaged") as caught:
        open_runner(open_bundle(changed.path), RTX)
    assert caught.value.exit_code == 3


def test_the_package_imports_no_engine(run_python: Any) -> None:
    code = """
import sys
import levit_engines.tensorrt, levit_engines.tensorrt.building, levit_engines.tensorrt.runner
assert not {"tensorrt", "tensorrt_rtx", "cuda", "torch", "onnxruntime"} & set(sys.modules)
"""
    result = run_python(code)
    assert result.returncode == 0, result.stderr


def test_nothing_is_left_in_the_temporary_folder(
    make_bundle: BundleFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    build(make_bundle(), RTX, BuildRequest())
    bad = make_bundle("bad", members={MODEL: graph_with(helper.make_node("Det", ["images"], ["logits"]))})
    with pytest.raises(BundleError):
        build(bad, RTX, BuildRequest())
    assert not list(folder.iterdir())

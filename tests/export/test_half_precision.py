"""Bundles in half precision: what they hold, that they are proven, and what is refused."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from levit_deploy import errors
from levit_deploy.architectures import VARIANTS
from levit_deploy.bundle import MODEL, PARITY, Bundle
from levit_deploy.fusion import fuse
from levit_deploy.initialization import randomize
from levit_deploy.model import create_model
from levit_deploy.parity import compare_logits
from levit_deploy.preprocessing import normalize
from levit_engines import open_runner
from levit_engines.verification.request import VerifyRequest
from levit_engines.verification.run import verify
from levit_export import pipeline
from levit_export.cli import main
from levit_export.pipeline import ExportReport, run_export
from levit_export.precision.emulation import emulated
from levit_export.precision.half import cast_network, island_around
from levit_export.request import ExportRequest, Form, Precision, Target

SMALL: dict[str, Any] = {"arch": "128S", "image_size": 64}
KINDS = {
    "fp16 cpu": (Precision.FP16, Target.CPU, Form.CONVOLUTIONS, 18),
    "fp16 gpu": (Precision.FP16, Target.GPU, Form.PACKED, 23),
    "bf16 cpu": (Precision.BF16, Target.CPU, Form.CONVOLUTIONS, 22),
    "bf16 gpu": (Precision.BF16, Target.GPU, Form.PACKED, 23),
}
STORED = {Precision.FP16: TensorProto.FLOAT16, Precision.BF16: TensorProto.BFLOAT16}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def report(kind: str, exported: Any) -> ExportReport:
    precision, target, _, _ = KINDS[kind]
    found: ExportReport = exported(**SMALL, precision=precision, target=target)
    return found


@pytest.fixture
def fp16(exported: Any) -> Bundle:
    found: Bundle = exported(**SMALL, precision=Precision.FP16, target=Target.GPU).bundle
    return found


@pytest.fixture
def bf16(exported: Any) -> Bundle:
    found: Bundle = exported(**SMALL, precision=Precision.BF16, target=Target.GPU).bundle
    return found


def graph_of(bundle: Bundle) -> onnx.ModelProto:
    return onnx.load_model_from_string(bundle.read(MODEL))


def test_the_graph_is_what_was_asked_for(kind: str, report: ExportReport) -> None:
    precision, _, form, opset = KINDS[kind]
    manifest, graph = report.bundle.manifest, graph_of(report.bundle)
    assert manifest.precision == precision.value
    assert (manifest.graph["form"], manifest.graph["opset"]) == (form.value, opset)
    assert graph.opset_import[0].version == opset
    assert manifest.graph["cast"]["float32_modules"] == []
    assert manifest.input.dtype == manifest.outputs[0].dtype == "float32"
    weights = [tensor for tensor in graph.graph.initializer if tensor.data_type != TensorProto.INT64]
    assert {tensor.data_type for tensor in weights} == {STORED[precision]}
    operators = Counter(node.op_type for node in graph.graph.node)
    assert operators["Cast"] == 2  # images in, logits out
    attentions = sum(manifest.config.depths) + 2
    assert operators["Attention"] == (attentions if form is Form.PACKED else 0)
    assert operators["Softmax"] == (0 if form is Form.PACKED else attentions)
    assert ("HardSwish" in operators) is (precision is Precision.FP16)  # TensorRT's parser takes none in bfloat16


def test_it_is_proven_in_its_own_arithmetic(kind: str, report: ExportReport) -> None:
    precision = KINDS[kind][0]
    stages = [rung.stage for rung in report.rungs]
    engine = [] if precision is Precision.BF16 else ["onnxruntime"]
    assert [stage for stage in dict.fromkeys(stages) if stage != "simplified"] == [
        *("eager fp32", "fused", "traced"),
        *engine,
    ]
    for rung in report.rungs:
        assert rung
    fp32, half = report.rungs[0], report.rungs[-1]
    assert max(half.bounds) > 100 * max(fp32.bounds)
    assert half.bound_share > 0.01, "a bound a hundred times too large would catch nothing"
    # Untrained weights make much of every rounding: float32 has 118 dB here.
    floor = {Precision.FP16: 48.0, Precision.BF16: 29.0}[precision]
    assert min(rung.comparison.sqnr_db for rung in report.rungs) >= floor
    assert json.loads(report.bundle.read(PARITY))["bound"]["per_image"] == list(report.bundle.manifest.golden_tolerance)


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.BF16])
def test_a_wrong_weight_is_found_although_bounds_are_wide(
    precision: Precision, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = pipeline.trace

    def trace(*arguments: Any, **options: Any) -> onnx.ModelProto:
        model = honest(*arguments, **options)
        (tensor,) = (one for one in model.graph.initializer if one.name == "stages.0.blocks.0.mlp.expand.bias")
        values = -numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(helper.make_tensor(tensor.name, tensor.data_type, tensor.dims, values.ravel()))
        return model

    monkeypatch.setattr(pipeline, "trace", trace)
    monkeypatch.setattr(pipeline, "MOST_ISLANDS", 0)
    request = ExportRequest(**SMALL, precision=precision, simplify=False, output=tmp_path / "bundle")
    with pytest.raises(errors.ParityError, match=r"stages\.0\.blocks\.0\.mlp\.expand"):
        run_export(request)
    assert not (tmp_path / "bundle").exists()


def test_what_half_precision_cannot_hold_stays_in_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hidden values of one branch are beyond 65504; the network is the same, and needs no more than that branch."""
    honest = pipeline.load_weights

    def load(request: ExportRequest) -> Any:
        loaded = honest(request)
        mlp = loaded.model.stages[0].blocks[1].mlp
        with torch.no_grad():
            mlp.expand.norm.weight.mul_(3e4)
            mlp.expand.norm.bias.mul_(3e4)
            mlp.contract.linear.weight.div_(3e4)
            mlp.contract.norm.running_mean.zero_()
        return loaded

    monkeypatch.setattr(pipeline, "load_weights", load)
    request = ExportRequest(**SMALL, precision=Precision.FP16, simplify=False, output=tmp_path / "bundle")
    bundle = run_export(request).bundle
    assert bundle.manifest.graph["cast"]["float32_modules"] == ["stages.0.blocks.1.mlp"]
    graph = graph_of(bundle).graph
    stored = {tensor.name: tensor.data_type for tensor in graph.initializer}
    assert stored["stages.0.blocks.1.mlp.expand.weight"] == TensorProto.FLOAT
    assert stored["stages.0.blocks.0.mlp.expand.weight"] == TensorProto.FLOAT16


@pytest.mark.parametrize(
    ("path", "island"),
    [
        ("stem.conv1", "stem"),
        ("stages.0.blocks.1.attention.bias", "stages.0.blocks.1.attention"),
        ("stages.1.downsample.mlp.expand", "stages.1.downsample.mlp"),
        ("head", "head"),
        ("levit", None),
        ("stages.1.blocks.0", None),
    ],
)
def test_an_island_is_a_whole_branch(path: str, island: str | None) -> None:
    assert island_around(path) == island


def test_an_island_keeps_its_float32_weights_bit_for_bit() -> None:
    model = create_model("128S", num_classes=5, image_size=32)
    randomize(model, 0)
    fused = fuse(model.eval())
    network, record = cast_network(fused, Precision.FP16, ["stages.0.blocks.0.mlp"])
    path = "stages.0.blocks.0.mlp.expand.weight"
    assert torch.equal(network.state_dict()[path], fused.state_dict()[path])
    assert fused.state_dict()["head.weight"].dtype == torch.float32
    assert network.state_dict()["head.weight"].dtype == torch.float16
    assert record.islands == ("stages.0.blocks.0.mlp",)
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 32, 32, dtype=torch.float16)).dtype == torch.float16


def test_a_weight_beyond_the_precision_is_refused_and_one_that_vanishes_is_counted() -> None:
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1e-9, 1.0], [1e5, 0.0]]))
    with pytest.raises(
        errors.ExportError, match=r"weight: a weight of 1e\+05 is beyond fp16, which ends at 6\.55e\+04"
    ):
        cast_network(layer, Precision.FP16)
    assert cast_network(layer, Precision.BF16)[1].underflowed == 0
    with torch.no_grad():
        layer.weight[1, 0] = 1.0
    assert cast_network(layer, Precision.FP16)[1].underflowed == 1


def test_the_emulation_rounds_every_result_and_nothing_else() -> None:
    """Sums of products in bfloat16, worked out by hand: 1 + 2^-7 is kept, 1 + 2^-9 is not, a tie goes to even."""
    value = helper.make_tensor_value_info
    weights = [1.0, 1.0, 1.0, 1 + 2.0**-7, 2.0**-7, 2.0**-9, 2.0**-8, 2.0**-8]
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["images"], ["x"], name="levit/Cast", to=TensorProto.BFLOAT16),
            helper.make_node("MatMul", ["x", "w"], ["y"], name="head/MatMul"),
            helper.make_node("Cast", ["y"], ["logits"], name="levit/Cast_1", to=TensorProto.FLOAT),
        ],
        "g",
        [value("images", TensorProto.FLOAT, [1, 2])],
        [value("logits", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor("w", TensorProto.BFLOAT16, [2, 4], weights)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    import onnxruntime

    session = onnxruntime.InferenceSession(emulated(model).SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"images": np.array([[1.0 + 2.0**-12, 1.0]], np.float32)})
    assert found.tolist() == [[1 + 2.0**-7, 1.0, 1.0, 1 + 2.0**-6]]


def test_the_emulation_agrees_with_pytorch(bf16: Bundle) -> None:
    """Not bit for bit: PyTorch's kernels keep some intermediate results in float32."""
    import onnxruntime

    from levit_export.forms.packed import packed_form
    from levit_export.loading import load_weights

    model = load_weights(ExportRequest(**SMALL)).model
    network, _ = cast_network(packed_form(fuse(model), operator=False), Precision.BF16)
    images = normalize(bf16.golden().images, bf16.manifest.preprocessing)
    with torch.no_grad():
        expected = network(torch.from_numpy(images).bfloat16()).float().numpy()
    graph = emulated(graph_of(bf16)).SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    found = np.concatenate([session.run(["logits"], {"images": image[None]})[0] for image in images])
    assert compare_logits(expected, found).sqnr_db > 30


def test_fp16_serves_in_onnx_runtime(fp16: Bundle) -> None:
    golden = fp16.golden()
    with open_runner(fp16) as runner:
        images = normalize(golden.images, fp16.manifest.preprocessing)
        logits = np.concatenate([runner.infer(image[None]) for image in images])
    assert runner.precision == "fp16"
    comparison = compare_logits(golden.logits, logits)
    assert comparison.sqnr_db >= 48
    assert all(flip.margin < max(fp16.manifest.golden_tolerance) for flip in comparison.flips)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "torch-eager"])
def test_bf16_is_refused_where_nothing_runs_it(engine: str, bf16: Bundle) -> None:
    with pytest.raises(errors.ConfigError, match=rf"is bf16, the engine {engine} takes .*choose from .*tensorrt-rtx"):
        open_runner(bf16, engine=engine)


def test_levit_verify_holds_bundles_to_bounds_of_their_precision(fp16: Bundle, bf16: Bundle) -> None:
    for bundle, engines in ((fp16, {"onnxruntime"}), (bf16, set())):
        alone = verify(bundle, VerifyRequest())
        assert alone, alone
        from_weights = verify(bundle, VerifyRequest(untrained=True))
        assert from_weights, from_weights
        names = {stage.name for stage in from_weights.stages}
        assert {"eager fp32", "fused", "traced"} <= names
        assert engines <= names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--fp16", "--bf16"), "not allowed with"),
        (("--precision", "bf16", "--opset", "18"), "bf16 needs 22 or more"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(["--arch", "128S", *arguments])
    except SystemExit as ended:
        code = int(ended.code or 0)
    assert code == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("arch", VARIANTS)
def test_every_variant_is_proven_in_fp16(arch: str, exported: Any) -> None:
    report = exported(arch=arch, image_size=64, precision=Precision.FP16, target=Target.GPU, simplify=False)
    for rung in report.rungs:
        assert rung.comparison.sqnr_db >= 44
        assert all(flip.margin <= 2 * max(rung.bounds) for flip in rung.comparison.flips)

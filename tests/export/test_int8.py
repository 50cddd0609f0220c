"""int8 bundles: which layers are quantised and how, that the proof can fail, what is refused, who runs them."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from integer_layers import PHOTOGRAPHS, linear_graph
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from PIL import Image

from levit_deploy import errors
from levit_deploy.architectures import VARIANTS
from levit_deploy.bundle import MODEL, Bundle
from levit_deploy.fusion import fuse
from levit_deploy.model import create_model
from levit_deploy.parity import compare_logits
from levit_deploy.preprocessing import normalize
from levit_deploy.quantization_noise import QuantizationNoise, QuantizedLayer
from levit_engines import open_runner
from levit_engines.cli import verify
from levit_engines.tensorrt.requirements import violations
from levit_export import pipeline
from levit_export.cli import main
from levit_export.forms.packed import moved_rows
from levit_export.loading import load_weights
from levit_export.pipeline import ExportReport, run_export
from levit_export.precision.integers import Quantization, Quantizer, linear_layers, quantized_layers
from levit_export.precision.ranges import least_squared_error
from levit_export.precision.sensitivity import Search, layer_shares
from levit_export.rendering import print_report
from levit_export.request import Calibration, ExportRequest, Precision, Target

SMALL: dict[str, Any] = {"arch": "128S", "image_size": 64, "precision": Precision.INT8, "calibration": PHOTOGRAPHS}


@pytest.fixture(params=Target, ids=[target.value for target in Target])
def target(request: pytest.FixtureRequest) -> Target:
    chosen: Target = request.param
    return chosen


@pytest.fixture
def report(exported: Callable[..., ExportReport], target: Target) -> ExportReport:
    return exported(**SMALL, target=target)


@pytest.fixture
def bundle(report: ExportReport) -> Bundle:
    return report.bundle


def graph_of(bundle: Bundle) -> onnx.ModelProto:
    return onnx.load_model_from_string(bundle.read(MODEL))


def run(model: onnx.ModelProto, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """As it is written, node by node."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    result: NDArray[np.float32] = session.run(None, {"images": image})[0]
    return result


def test_every_linear_layer_of_the_stages_is_quantised_and_nothing_else(report: ExportReport, target: Target) -> None:
    manifest, graph = report.bundle.manifest, graph_of(report.bundle).graph
    fused = fuse(create_model("128S", image_size=64))
    linear = {path: module for path, module in fused.named_modules() if isinstance(module, torch.nn.Linear)}
    del linear["head"]
    moved = moved_rows(fused) if target is Target.GPU else {}
    layers = quantized_layers(graph_of(report.bundle), moved)
    assert set(layers) == set(linear)
    assert all(len(layers[path].weight_steps) == linear[path].out_features for path in linear)
    assert manifest.graph["form"] == ("packed" if moved else "tokens")
    record = manifest.graph["quantization"]
    assert (record["layers"], record["method"], record["calibration"]["images"]) == (len(linear), "minmax", 4)
    assert (record["activations"], record["weights"]) == (
        ("int8, symmetric", "int8, 8 bits") if moved else ("uint8", "int8, 7 bits")
    )
    writers = {name: node for node in graph.node for name in node.output}
    read_by = Counter(
        node.op_type
        for node in graph.node
        for name in node.input
        if name in writers and writers[name].op_type == "DequantizeLinear"
    )
    assert read_by == {"MatMul": 2 * len(linear)}
    stored = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in stored:
            weights = numpy_helper.to_array(stored[node.input[0]])
            assert weights.dtype == np.int8
            # 8 bits saturate where a CPU without VNNI adds two products in 16.
            assert np.abs(weights.astype(int)).max() in ((127, 128) if moved else (63, 64))
            assert not numpy_helper.to_array(stored[node.input[2]]).any()
        if node.op_type == "QuantizeLinear":
            zero = numpy_helper.to_array(stored[node.input[2]])
            assert (zero.dtype, bool(moved) <= (zero == 0)) == (np.int8 if moved else np.uint8, True)
            path = node.name.rpartition("/")[0]
            assert path in {*linear, *moved}, "a pair has the name of the layer that it is for"


def test_for_gpus_the_rest_is_fp16_and_tensorrt_reads_it_as_it_is_meant(exported: Callable[..., ExportReport]) -> None:
    bundle = exported(**SMALL, target=Target.GPU).bundle
    graph = graph_of(bundle)
    assert violations(graph) == ()
    assert Counter(node.op_type for node in graph.graph.node)["Attention"] == sum(bundle.manifest.config.depths) + 2
    types = {tensor.data_type for tensor in graph.graph.initializer}
    assert TensorProto.FLOAT16 in types
    assert TensorProto.FLOAT not in types
    assert bundle.manifest.graph["cast"]["float32_modules"] == []
    scales = [numpy_helper.to_array(one) for one in graph.graph.initializer if one.name.endswith("_scale")]
    assert all((scale > 0).all() for scale in scales), "rows of zeros have a step too"


def test_it_is_proven_and_the_bound_is_no_empty_one(report: ExportReport) -> None:
    assert [stage for stage in dict.fromkeys(rung.stage for rung in report.rungs) if stage != "simplified"] == [
        *("eager fp32", "fused", "traced", "quantised", "onnxruntime"),
    ]
    assert all(report.rungs)
    for rung in report.rungs[-2:]:
        assert rung.bound_share > 0.01
        photographs = [image < 4 for image in rung.images]
        assert max(np.array(rung.comparison.max_abs_errors)[photographs]) < 1.0


@pytest.mark.parametrize(
    ("target", "layer", "named"),
    [
        (Target.CPU, "stages.0.blocks.1.mlp.expand", "stages.0.blocks.1.mlp.expand"),
        (Target.CPU, "stages.2.blocks.0.attention.qkv", "stages.2.blocks.0.attention.qkv"),
        (Target.GPU, "stages.0.blocks.1.mlp.expand", "stages.0.blocks.1.mlp.expand"),
        # The values of a packed layer are in other places than the ladder knows them: what they are mixed to is not.
        (Target.GPU, "stages.2.blocks.0.attention.packed_qkv", r"stages.2.blocks.0.attention \(scores"),
    ],
)
def test_a_wrong_scale_is_found_and_its_layer_named(
    target: Target, layer: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Quantizer.quantize

    def wrong(self: Quantizer, kept: Any) -> Quantization:
        quantization = honest(self, kept)
        model = quantization.model
        (scale,) = (node.input[1] for node in model.graph.node if node.name == f"{layer}/DequantizeLinear_1")
        (tensor,) = (one for one in model.graph.initializer if one.name == scale)
        tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor), tensor.name))
        return quantization

    monkeypatch.setattr(Quantizer, "quantize", wrong)
    with pytest.raises(errors.ParityError, match=rf"'quantised'.*{named}"):
        run_export(ExportRequest(**SMALL, target=target, simplify=False, output=tmp_path / "bundle"))
    assert not (tmp_path / "bundle").exists()


def test_a_layer_computes_what_its_integers_say() -> None:
    """By the specification of QuantizeLinear and DequantizeLinear, to the last bit: products of integers are exact."""
    generator = np.random.default_rng(0)
    weight = generator.standard_normal((24, 5)).astype(np.float32)
    images = [generator.standard_normal((1, 1, 1, 24)).astype(np.float32) for _ in range(3)]
    model = Quantizer(linear_graph(weight), images, Calibration.MIN_MAX).quantize().model
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    by_type = {}
    for node in model.graph.node:
        by_type.setdefault(node.op_type, []).append(node)
    (quantizer,) = by_type["QuantizeLinear"]
    scale, zero = stored[quantizer.input[1]], int(stored[quantizer.input[2]])
    of_weights = next(node for node in by_type["DequantizeLinear"] if node.input[0] in stored)
    integers, steps = stored[of_weights.input[0]].astype(np.int64), stored[of_weights.input[1]]
    image = 2 * generator.standard_normal((1, 1, 1, 24)).astype(np.float32)  # beyond the range: it is clipped
    pixels = np.clip(np.rint(image / scale).astype(np.int64) + zero, 0, 255) - zero
    exact = (pixels @ integers).astype(np.float64) * float(scale) * steps.astype(np.float64)
    np.testing.assert_allclose(run(model, image), exact, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(np.abs(integers).max(axis=0), 64)
    expected = np.abs(weight).max(axis=0) / 64
    np.testing.assert_allclose(steps, expected, rtol=0.02)


def test_a_channel_of_zeros_has_a_step_and_stays_zero() -> None:
    weight = np.ones((4, 3), np.float32)
    weight[:, 1] = 0
    images = [np.linspace(-1, 1, 4, dtype=np.float32).reshape(1, 1, 1, 4)]
    quantization = Quantizer(linear_graph(weight), images, Calibration.MIN_MAX).quantize()
    assert all(step > 0 for step in quantization.layers["stages.0.layer"].weight_steps)
    assert run(quantization.model, images[0])[..., 1].item() == 0


def test_the_layer_that_costs_most_is_kept_and_no_other(
    exported: Callable[..., ExportReport], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The budget lies between what all layers lose and what is left without the worst of them."""
    everything = exported(**SMALL).bundle.manifest.graph["quantization"]
    limit = everything["sqnr_db"] + 0.05
    report = exported(**SMALL, min_sqnr_db=limit)
    found = report.bundle.manifest.graph["quantization"]
    shares = found["sqnr_db_of_each_layer_alone"]
    assert set(shares) == set(quantized_layers(graph_of(exported(**SMALL).bundle)))
    assert found["kept_layers"] == sorted(shares, key=lambda path: shares[path])[: len(found["kept_layers"])]
    assert 1 <= len(found["kept_layers"]) < 6
    assert found["sqnr_db"] >= limit
    assert found["layers"] + len(found["kept_layers"]) == everything["layers"]
    assert everything["kept_layers"] == []
    print_report(report)
    shown = capsys.readouterr().out
    assert "Layers by what each alone costs, 46 in all" in shown
    assert shown.count("no, kept") == len(found["kept_layers"])
    assert shown.count("yes") == 5
    impossible = ExportRequest(**SMALL, min_sqnr_db=150.0, simplify=False, output=tmp_path / "bundle")
    told: list[tuple[str, int, int]] = []
    with pytest.raises(errors.ParityError, match="allow more, or export fp16"):
        run_export(impossible, on_progress=lambda *step: told.append(step))
    assert [total for _, _, total in told] == [46] * 46 + [6] * (len(told) - 46)
    assert all(done < total for _, done, total in told)
    assert len(told) > 46


def test_a_share_is_what_the_graph_loses_with_that_layer_alone(exported: Callable[..., ExportReport]) -> None:
    """PyTorch's rounding beside ONNX Runtime's: the same steps, up to the last bits of the sums before them."""
    bundle = exported(**SMALL).bundle
    model = load_weights(ExportRequest(arch="128S", image_size=64)).model
    pixels = bundle.golden().images[:4]
    images = normalize(pixels, bundle.manifest.preprocessing)
    traced = pipeline.trace_network(
        fuse(model),
        ExportRequest(arch="128S", image_size=64, target=Target.GPU),
        bundle.manifest.preprocessing,
        bundle.manifest.batch_sizes,
    )
    quantizer = Quantizer(traced, [image[None] for image in images], Calibration.MIN_MAX)
    layers = quantizer.quantize().layers
    chosen = "stages.1.downsample.attention.key_value"
    alone = quantizer.quantize([path for path in layers if path != chosen])
    assert set(alone.layers) == {chosen}
    logits = [np.concatenate([run(one, image[None]) for image in images]) for one in (traced, alone.model)]
    shares = layer_shares(fuse(model), layers, images)
    assert compare_logits(*logits).sqnr_db == pytest.approx(shares[chosen], abs=0.5)


@pytest.mark.parametrize("method", Calibration)
def test_ranges_cover_what_flowed_or_most_of_it(method: Calibration) -> None:
    generator = np.random.default_rng(1)
    images = [generator.standard_normal((1, 1, 1, 256)).astype(np.float32) for _ in range(40)]
    images[7][0, 0, 0, 3] = 50.0
    weight = generator.standard_normal((256, 2)).astype(np.float32)
    layer = Quantizer(linear_graph(weight), images, method).quantize().layers["stages.0.layer"]
    values = np.concatenate(images)
    inside = ((values >= layer.low - layer.step) & (values <= layer.high + layer.step)).mean()
    assert inside > 0.99
    if method is Calibration.MIN_MAX:
        assert inside == 1
    assert layer.low <= 0 <= layer.high


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("shape", ["even", "bell", "outlier", "one-sided"])
def test_the_least_squared_error_is_that_of_rounding_itself(shape: str, symmetric: bool) -> None:
    """No other range is better by more than the search is coarse, where the values are really rounded and clipped."""
    generator = np.random.default_rng(0)
    values = generator.random(20_000) - 0.5 if shape == "even" else generator.standard_normal(20_000)
    values = np.maximum(values, -0.375) if shape == "one-sided" else values
    values[0] = 10.0 if shape == "outlier" else values[0]
    threshold = np.abs(values).max()

    def squared_error(low: float, high: float) -> float:
        step = (high - low) / 255
        return float(np.square(values - (np.rint(np.clip(values, low, high) / step) * step)).sum())

    chosen = least_squared_error(*np.histogram(values, 2048, (-threshold, threshold)), symmetric=symmetric)
    lowest, highest = min(values.min(), 0.0), values.max()
    shares = np.linspace(0.02, 1, 60)
    if symmetric:
        assert chosen[0] == -chosen[1]
        best = min(squared_error(-share * threshold, share * threshold) for share in shares)
    else:
        best = min(squared_error(lower * lowest, upper * highest) for lower in shares[::3] for upper in shares)
    assert squared_error(*map(float, chosen)) < 1.1 * best


def test_few_far_values_are_clipped_and_many_are_not() -> None:
    edges = np.linspace(-30, 30, 601)
    near = np.where(np.abs(edges[:-1] + 0.05) < 1, 100_000, 0)
    few, many = near.copy(), near.copy()
    few[-1], many[-1] = 1, 100_000
    assert least_squared_error(few, edges, symmetric=False)[1] < 10
    assert least_squared_error(many, edges, symmetric=False)[1] > 29


def test_noise_is_as_large_as_the_steps() -> None:
    """The deviation of an error that is evenly spread over one step is the step over the root of 12."""
    network = torch.nn.ModuleDict({"layer": torch.nn.Linear(400, 300, bias=False)}).double()
    layer = QuantizedLayer(step=0.1, low=-20.0, high=20.0, weight_steps=(0.02,) * 300)
    inputs = torch.randn(50, 400, dtype=torch.float64)
    exact = network["layer"](inputs)
    noise = QuantizationNoise({"layer": layer}, np.random.Generator(np.random.SFC64(0)))
    with noise.over(network):
        disturbed = network["layer"](inputs)
    weight = network["layer"].weight
    expected = (0.1**2 * weight.square().sum(1) + 0.02**2 * inputs.square().sum(1, keepdim=True)).div(12).sqrt()
    assert float(((disturbed - exact) / expected).detach().std()) == pytest.approx(1, rel=0.02)
    assert torch.equal(network["layer"](inputs), exact), "no hook is left"


def test_the_same_export_is_the_same_file(report: ExportReport, target: Target, tmp_path: Path) -> None:
    again = run_export(ExportRequest(**SMALL, target=target, output=tmp_path / "again")).bundle
    assert again.read(MODEL) == report.bundle.read(MODEL)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_engines_reproduce_the_golden_logits(engine: str, bundle: Bundle) -> None:
    golden = bundle.golden()
    with open_runner(bundle, engine=engine) as runner:
        images = normalize(golden.images, bundle.manifest.preprocessing)
        logits = np.concatenate([runner.infer(image[None]) for image in images])
    errors_ = np.abs(logits - golden.logits).max(axis=1)
    assert (errors_ <= np.array(bundle.manifest.golden_tolerance)).all()


@pytest.mark.parametrize("weights", [(), ("--untrained",)], ids=["alone", "from weights"])
def test_levit_verify_holds_it_to_its_steps(
    weights: tuple[str, ...], bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    code = verify.main([str(bundle.path), *weights, "--json"])
    shown = capsys.readouterr()
    assert code == 0, shown
    assert {"quantised", "onnxruntime"} <= {stage["name"] for stage in json.loads(shown.out)["stages"]}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--int8",), 2, "the ranges of random input say nothing"),
        (("--calibration", "{photographs}"), 2, "only int8 has ranges"),
        (("--fp16", "--max-flips", "1%"), 2, "a budget is for int8"),
        (("--int8", "--calibration", "{photographs}", "--max-flips", "2"), 2, "'2' is not a share"),
        (("--int8", "--calibration", "{empty}"), 3, "holds no image"),
        (("--int8", "--calibration", "{broken}"), 3, "torn.jpg"),
        (("--int8", "--calibration", "nowhere"), 3, "nowhere: is not a folder"),
        (("--int8", "--calibration", "{photographs}", "--calibration-method", "best"), 2, "invalid choice"),
    ],
)
def test_what_cannot_calibrate_is_refused(
    arguments: tuple[str, ...], code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    shutil.copytree(PHOTOGRAPHS, tmp_path / "broken")
    (tmp_path / "broken" / "torn.jpg").write_bytes((PHOTOGRAPHS / "coffee.jpg").read_bytes()[:1000])
    places = {"photographs": PHOTOGRAPHS, "empty": tmp_path / "empty", "broken": tmp_path / "broken"}
    words = [word.format(**places) for word in arguments]
    try:
        ended = main(["--arch", "128S", "--image-size", "64", "-o", str(tmp_path / "bundle"), *words])
    except SystemExit as exit_:
        ended = int(exit_.code or 0)
    assert ended == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()


def test_one_image_of_an_unusual_kind_calibrates_and_says_that_it_is_one(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    Image.fromarray(np.linspace(0, 65535, 90 * 80).reshape(90, 80).astype(np.uint16)).save(folder / "sixteen.png")
    with Image.open(PHOTOGRAPHS / "coffee.jpg") as image:
        image.convert("CMYK").save(folder / "print.jpg")
    request = ExportRequest(**{**SMALL, "calibration": folder}, simplify=False, output=tmp_path / "bundle")
    report = run_export(request)
    assert report.bundle.manifest.graph["quantization"]["calibration"]["images"] == 2
    assert any("calibrated on 2 images" in note for note in report.notes)


@pytest.mark.slow
@pytest.mark.parametrize("arch", VARIANTS)
def test_every_variant_dynamic_batch_and_pixels(arch: str, exported: Callable[..., ExportReport]) -> None:
    report = exported(**{**SMALL, "arch": arch}, uint8_input=True, batch=(1, 4), simplify=False)
    assert all(report.rungs)
    layers = linear_layers(graph_of(report.bundle))
    assert not layers, "every product with weights in a stage reads them through DequantizeLinear"


def test_what_loses_nothing_is_said_in_json() -> None:
    logits = np.ones((1, 2), np.float32)
    found = Search(
        quantization=Quantization(model=onnx.ModelProto(), layers={}),
        comparison=compare_logits(logits, logits),
        kept=(),
        shares_db={"head": float("inf")},
    )
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert (document["sqnr_db"], document["sqnr_db_of_each_layer_alone"]) == ("inf", {"head": "inf"})

"""The pure parts: rules for graphs, targets, messages, progress, the parser's network, attention, inspectors."""

import json
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from fixtures_bundle import SIDE, tiny_manifest
from onnx import TensorProto, helper, numpy_helper
from tensorrt_fakes import Member

from levit_deploy.architectures import VARIANTS
from levit_deploy.errors import BundleError, ConfigError, ExportError
from levit_deploy.manifest import Manifest
from levit_engines.tensorrt import REFUSED_FLAGS
from levit_engines.tensorrt.attention import describe_attention
from levit_engines.tensorrt.inspection import summarize
from levit_engines.tensorrt.messages import one_line, parser_errors, without_driver_complaints
from levit_engines.tensorrt.network import describe_network, engine_mismatches, mismatches
from levit_engines.tensorrt.order import NOT_INSPECTED
from levit_engines.tensorrt.progress import TOTAL, BuildProgress
from levit_engines.tensorrt.requirements import violations
from levit_engines.tensorrt.targets import default_capabilities, describe_targets, fits, members_for

DRIVER = "Error Code 1: Cuda Runtime (cudaError 35: CUDA driver version is insufficient for CUDA runtime version)"
ZERO = np.int8(0)
CAPABILITIES = ("NONE", "CURRENT", "SM75", "SM80", "SM86", "SM89", "SM120", "SM121")


def quantized(
    scale: Any = 0.1, zero: Any = ZERO, *, kind: str = "QuantizeLinear", source: Any = None, **attributes: Any
) -> onnx.ModelProto:
    """A graph with one (de)quantiser named "the_node"; `zero` None leaves the zero point out."""
    constants = {"scale": np.asarray(scale, np.asarray(scale).dtype if np.ndim(scale) else np.float32)}
    inputs = ["x", "scale"]
    if zero is not None:
        constants["zero"] = np.asarray(zero)
        inputs.append("zero")
    if source is not None:
        constants["x"] = np.asarray(source)
    graph = helper.make_graph(
        [helper.make_node(kind, inputs, ["y"], name="the_node", **attributes)],
        "g",
        [] if source is not None else [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 2])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (quantized(zero=np.uint8(0)), "uint8"),
        (quantized(zero=np.uint8(128)), "zero point is not 0"),
        (quantized(zero=None), "uint8"),
        (quantized(zero=None, output_dtype=TensorProto.UINT8), "uint8"),
        (quantized(zero=np.int8(3)), "zero point is not 0"),
        (quantized(scale=0.0), "not above 0"),
        (quantized(scale=-0.5), "not above 0"),
        (quantized(scale=float("nan")), "not above 0"),
        (quantized(scale=np.array([0.1, 0.0], np.float32), axis=0), "not above 0"),
        (quantized(scale=1e-9), "0 in fp16"),
        (quantized(kind="DequantizeLinear", zero=None, source=np.ones((2, 2), np.int32)), "int32"),
        (quantized(kind="DequantizeLinear", zero=None, source=np.ones((2, 2), np.uint8)), "uint8"),
        (quantized(kind="DequantizeLinear", zero=np.uint8(0)), "uint8"),
        (quantized(kind="DynamicQuantizeLinear"), "no integer operators"),
        (quantized(kind="QLinearConv"), "no integer operators"),
        (quantized(kind="MatMulInteger"), "no integer operators"),
    ],
)
def test_what_would_be_read_as_something_else_is_named(model: onnx.ModelProto, reason: str) -> None:
    found = violations(model)
    assert any(reason in line for line in found), found
    assert all("'the_node'" in line or "the_node" in line for line in found)
    assert all(model.graph.node[0].op_type in line and "\n" not in line for line in found)


@pytest.mark.parametrize(
    "model",
    [
        quantized(),
        quantized(zero=None, output_dtype=TensorProto.INT8),
        quantized(scale=np.array([0.1, 1.0], np.float32), zero=np.zeros(2, np.int8), axis=0),
        quantized(kind="DequantizeLinear", zero=None, source=np.ones((2, 2), np.int8)),
        quantized(kind="Mul"),
    ],
)
def test_symmetric_int8_is_no_violation(model: onnx.ModelProto) -> None:
    assert violations(model) == ()


def test_branches_and_constant_nodes_are_looked_into() -> None:
    inner = quantized(zero=None).graph
    constant = helper.make_node("Constant", [], ["scale"], value=numpy_helper.from_array(np.float32(-1), "v"))
    del inner.initializer[:]
    inner.node.insert(0, constant)
    outer = helper.make_graph([helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)], "o", [], [])
    assert [("uint8" in line, "not above 0" in line) for line in violations(helper.make_model(outer))] == [
        (True, False),
        (False, True),
    ] * 2


def test_targets_are_put_in_order_and_unknown_ones_listed() -> None:
    assert list(members_for(("12.0", "8.6", "8.6"), CAPABILITIES).items()) == [("8.6", "SM86"), ("12.0", "SM120")]
    assert default_capabilities(CAPABILITIES) == ("8.0", "8.6", "8.9", "12.0", "12.1")
    assert describe_targets(("12.0", "8.6")) == "8.6, 12.0"
    with pytest.raises(ConfigError, match=r"9\.0: this release .* 7\.5, 8\.0, 8\.6, 8\.9, 12\.0, 12\.1"):
        members_for(("9.0",), CAPABILITIES)


@pytest.mark.parametrize("text", ["", "8", "8.", ".6", "sm86", "8.66", "123.0", "8,6", " 8.6", "08.6"])
def test_what_is_no_capability_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected is a number"):
        describe_targets((text,))


@pytest.mark.parametrize(
    ("recorded", "capability", "expected"),
    [
        ("8.6", (8, 6), True),
        ("8.6, 12.0", (12, 0), True),
        ("8.6, 12.0", (8, 9), False),
        ("8.0, 8.6, 8.9, 12.0, 12.1", (9, 0), False),
    ],
)
def test_what_fits_a_gpu(recorded: str, capability: tuple[int, int], expected: bool) -> None:
    assert fits(recorded, capability) is expected


def test_a_record_in_other_words_is_a_bad_bundle() -> None:
    for recorded in ("any GPU", "8.0 and later", ""):
        with pytest.raises(BundleError, match="not what levit-build writes"):
            fits(recorded, (8, 6))


def test_complaints_about_the_driver_give_way_to_reasons() -> None:
    assert without_driver_complaints(["bad shape", DRIVER]) == ["bad shape"]
    assert without_driver_complaints([f"bad shape\n{DRIVER}"]) == ["bad shape"]
    assert without_driver_complaints([DRIVER]) == [DRIVER]
    assert one_line(["a\n  b", "a", ""]) == "a; b"
    assert one_line([]) == "no message was given"


def test_every_error_of_the_parser_is_passed_on() -> None:
    def error(node: int, name: str, text: str) -> Any:
        answers = {"node": node, "node_name": name, "node_operator": "Det", "desc": text, "func": "checkDet"}
        calls = {key: (lambda value=value: value) for key, value in answers.items()}
        return SimpleNamespace(**calls, code=lambda: Member("UNSUPPORTED_NODE"))

    errors = [error(0, "first", "false"), error(7, "", f"two\nlines\n{DRIVER}"), error(-1, "", "no protobuf")]
    parser: Any = SimpleNamespace(num_errors=3, get_error=errors.__getitem__)
    assert parser_errors(parser, has_driver=False) == (
        "node 'first' (Det): unsupported node (found by checkDet); "
        "node 7 (Det): unsupported node: two; lines; unsupported node: no protobuf"
    )
    assert "cudaError 35" in parser_errors(parser, has_driver=True)


def test_progress_only_grows_and_ends_full() -> None:
    told: list[tuple[str, int, int]] = []
    progress = BuildProgress(lambda *event: told.append(event))
    progress.started("build", 2)
    for _ in range(2):
        progress.started("optimise", 4)
        for step in range(4):
            progress.started("again", 2)
            progress.finished("again")
            progress.stepped("optimise", step)
        progress.finished("optimise")
        progress.stepped("build", 0)
    progress.stepped("unknown", 3)
    progress.finished("unknown")
    progress.finished("build")
    figures = [done for _, done, _ in told]
    assert figures == sorted(set(figures))
    assert told[-1][1:] == (TOTAL, TOTAL)


def test_progress_may_be_told_from_several_threads() -> None:
    told: list[int] = []
    progress = BuildProgress(lambda _, done, __: told.append(done))
    progress.started("build", 400)
    threads = [
        threading.Thread(target=lambda part=part: [progress.stepped("build", part * 100 + n) for n in range(100)])
        for part in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == sorted(set(told))


def tensor(name: str, dtype: str, shape: tuple[int, ...] = ()) -> Any:
    return SimpleNamespace(name=name, dtype=Member(dtype), shape=shape)


def parsed(precision: str = "FLOAT", *, pixels: bool = False, extra: tuple[tuple[str, str], ...] = ()) -> Any:
    """A network as a parser gives it; `extra` are casts."""
    image = (-1, SIDE, SIDE, 3) if pixels else (-1, 3, SIDE, SIDE)
    images = tensor("images", "UINT8" if pixels else "FLOAT", image)
    logits = tensor("logits", "FLOAT", (-1, 5))
    casts = [("UINT8", "FLOAT")] * pixels + [("INT64", "INT64"), ("BOOL", "INT32"), *extra]
    layers = [
        SimpleNamespace(
            type=Member("CAST"),
            num_outputs=1,
            get_input=lambda _, source=source: tensor("", source),
            get_output=lambda _, target=target: tensor("", target),
        )
        for source, target in casts
    ]
    layers.append(
        SimpleNamespace(type=Member("CONVOLUTION"), num_outputs=1, get_output=lambda _: tensor("", precision))
    )
    return SimpleNamespace(
        num_layers=len(layers),
        get_layer=layers.__getitem__,
        num_inputs=1,
        get_input=lambda _: images,
        num_outputs=1,
        get_output=lambda _: logits,
    )


def promised(precision: str = "fp32", *, pixels: bool = False) -> Manifest:
    return tiny_manifest("uint8" if pixels else "float32", "batch", 4, precision=precision)


@pytest.mark.parametrize("pixels", [False, True])
def test_a_network_as_promised_has_no_mismatch(pixels: bool) -> None:
    record = describe_network(parsed(pixels=pixels))
    assert mismatches(record, promised(pixels=pixels)) == ()
    assert record["casts"] == ({"UINT8 to FLOAT": 1} if pixels else {})
    assert json.loads(json.dumps(record)) == record
    half = describe_network(parsed("HALF", extra=(("FLOAT", "HALF"), ("HALF", "FLOAT"))))
    assert mismatches(half, promised("fp16")) == ()


@pytest.mark.parametrize(
    ("network", "manifest", "words"),
    [
        (parsed("HALF"), promised(), "precision fp32 was asked for"),
        (parsed("BF16"), promised("fp16"), "precision fp16 was asked for"),
        (parsed(), promised("fp16"), "precision fp16 was asked for"),
        (parsed(), promised("fp3"), "is unknown"),
        (parsed(pixels=True), promised(), "inputs were promised"),
        (parsed(), promised(pixels=True), "must be cast once"),
        (parsed(pixels=True, extra=(("UINT8", "FLOAT"),)), promised(pixels=True), "casts them 2 times"),
        (parsed(extra=(("FLOAT", "INT64"),)), promised(), "1 x FLOAT to INT64"),
    ],
)
def test_another_network_than_promised_is_said(network: Any, manifest: Manifest, words: str) -> None:
    assert words in "; ".join(mismatches(describe_network(network), manifest))


def test_attention_is_said_to_be_fused_only_where_that_is_known() -> None:
    operator = helper.make_node("Attention", ["q", "k", "v"], ["y"])
    fused = helper.make_model(helper.make_graph([operator, operator], "g", [], []))
    plain = helper.make_model(helper.make_graph([], "g", [], []))
    config = VARIANTS["192"]
    assert describe_attention(fused, config, "fp16") | {"reason": ""} == {"fused": True, "count": 2, "reason": ""}
    said = describe_attention(plain, config, "fp32")
    assert said["fused"] is False
    assert said["reason"] == (
        "queries and keys have 32 values a head, values 64 and 128; TensorRT fuses only equal sizes, and not in fp32"
    )
    assert describe_attention(plain, config, "fp16")["fused"] is None


def test_inspectors_of_several_releases_are_understood() -> None:
    layers: list[Any] = [
        {"LayerType": "gemm", "Outputs": [{"Format/Datatype": "Half"}]},
        {"LayerType": "gemm", "Outputs": [{"Format": "Row", "Datatype": "FP16"}], "Bias": {"Type": "Half", "Count": 4}},
        {
            "LayerType": "conv",
            "Inputs": [{"Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format."}],
        },
        {"LayerType": "conv", "Outputs": [{"Format/Datatype": "Row major linear FP32"}], "Weights": {"Type": "Int8"}},
        {"LayerType": "kgen", "Outputs": ["name only", {"Format/Datatype": "N/A due to dynamic shapes"}]},
        "name only",
    ]
    assert summarize(json.dumps({"Layers": layers})) == {
        "layer_count": 6,
        "layers": {"conv": 2, "gemm": 2, "kgen": 1},
        "dtypes": {"FLOAT": 1, "HALF": 3, "INT8": 2},
    }
    for text in ("", "[]", '{"layers": []}'):
        with pytest.raises(ExportError, match="no list of layers"):
            summarize(text)


@pytest.mark.parametrize(
    ("precision", "types", "fits"),
    [
        ("fp32", ("Float",), True),
        ("fp32", ("Row major linear FP32", "Int32", "Bool"), True),
        ("fp32", ("Float", "Half"), False),
        ("fp32", ("Float", "BF16"), False),
        ("fp32", ("Float", "UInt8"), False),
        ("fp16", ("Half", "Float"), True),
        ("fp16", ("Float",), False),
        ("fp16", ("Half", "BF16"), False),
        ("bf16", ("BFloat16", "Float"), True),
        ("bf16", ("Half",), False),
        ("int8", ("Int8", "Half", "Float"), True),
        ("int8", ("Half", "Float"), False),
        ("fp32", ("N/A due to dynamic shapes",), True),
        ("fp32", (), True),
    ],
)
def test_layers_of_another_precision_than_asked_for_are_named(
    precision: str, types: tuple[str, ...], fits: bool
) -> None:
    layers = [{"LayerType": "gemm", "Outputs": [{"Format/Datatype": text}]} for text in types]
    found = engine_mismatches(summarize(json.dumps({"Layers": layers})), promised(precision))
    assert (found == ()) is fits
    assert all(f"precision {precision} was asked for, the engine's tensors are " in line for line in found)


def test_an_engine_that_was_not_inspected_has_no_mismatch() -> None:
    assert engine_mismatches({NOT_INSPECTED: "no GPU"}, promised()) == ()


def test_refused_flags_have_reasons() -> None:
    assert {
        "--useDLACore",
        "--dla-core",
        "--versionCompatible",
        "--stripWeights",
        "--refit",
        "--fp16",
        "--best",
    } <= set(REFUSED_FLAGS)
    assert all(flag.startswith("--") and reason and "\n" not in reason for flag, reason in REFUSED_FLAGS.items())

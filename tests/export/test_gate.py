"""The gate: defects of fusion and export are caught, and nothing is published."""

import hashlib

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

import levit_export.pipeline as pipeline
from levit_deploy.errors import ExportError, ParityError
from levit_export.request import ExportRequest
from levit_export.simplification import Simplification

REQUEST = {"arch": "128S", "image_size": 64, "simplify": False}


@pytest.fixture(scope="session")
def honest_trace():
    """`trace`, that remembers: a defect is put into a copy of the graph, tracing it anew would prove no more."""
    honest, done = pipeline.trace, {}

    def trace(network, images, *, batch_sizes, opset):
        weights = hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in network.state_dict().values()))
        key = (weights.hexdigest(), tuple(images.shape), images.dtype, network.top_k, batch_sizes)
        if key not in done:
            done[key] = honest(network, images, batch_sizes=batch_sizes, opset=opset)
        model = onnx.ModelProto()
        model.CopyFrom(done[key])
        return model

    return trace


@pytest.fixture(autouse=True)
def _traced_once(honest_trace, monkeypatch):
    monkeypatch.setattr(pipeline, "trace", honest_trace)


def trace_with(defect):
    honest = pipeline.trace

    def trace(*arguments, **options):
        model = honest(*arguments, **options)
        defect(model.graph)
        return model

    return trace


def export_to(folder, **options):
    return pipeline.run_export(ExportRequest(output=folder / "bundle", **{**REQUEST, **options}))


def fuse_with(defect):
    honest = pipeline.fuse

    def fuse(model):
        fused = honest(model)
        with torch.no_grad():
            defect(fused)
        return fused

    return fuse


def first_attention(fused):
    return fused.stages[0].blocks[0].attention


FUSION_DEFECTS = {
    "shifted bias": (
        lambda fused: first_attention(fused).bias.copy_(first_attention(fused).bias.roll(1, -1)),
        "stages.0.blocks.0.attention.bias",
    ),
    "NaN": (lambda fused: fused.head.weight[0, 0].fill_(float("nan")), "head"),
}


@pytest.mark.parametrize(("defect", "module"), FUSION_DEFECTS.values(), ids=FUSION_DEFECTS.keys())
def test_defective_fusion_is_caught_and_named(defect, module, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "fuse", fuse_with(defect))
    with pytest.raises(ParityError, match=rf"'fused'.*first wrong module: {module}"):
        export_to(tmp_path)
    assert list(tmp_path.iterdir()) == []


def scale_one_channel(graph, name, factor):
    for constant in graph.initializer:
        if constant.name == name:
            values = numpy_helper.to_array(constant).copy()
            values[0] *= factor
            constant.CopyFrom(numpy_helper.from_array(values, name))
            return
    raise AssertionError(name)


def swap_residual(graph):
    add = next(node for node in graph.node if node.op_type == "Add" and node.name == "stages.1.blocks.0/Add_1")
    add.input[0] = add.input[1]


def mix_batch(graph):
    softmax = next(node for node in graph.node if node.op_type == "Softmax")
    for attribute in softmax.attribute:
        attribute.i = 0


EXPORT_DEFECTS = {
    "scaled channel": (
        lambda graph: scale_one_channel(graph, "stages.1.blocks.1.mlp.expand.weight", 1.001),
        "stages.1.blocks.1.mlp.expand",
    ),
    "dropped residual": (swap_residual, "stages.1.blocks.0"),
    "attention over the batch": (mix_batch, "stages.0.blocks.0.attention"),
}


@pytest.mark.parametrize(("defect", "module"), EXPORT_DEFECTS.values(), ids=EXPORT_DEFECTS.keys())
def test_defective_trace_is_caught_and_named(defect, module, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "trace", trace_with(defect))
    with pytest.raises(ParityError, match=rf"'traced'.*first wrong module: {module} "):
        export_to(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_batch_dependence_is_caught_at_a_later_batch_size(tmp_path, monkeypatch):
    """A graph that is right for one image and wrong for two must not pass because one was tried."""

    class MixingGraph(pipeline.GraphCandidate):
        def infer(self, images):
            logits = super().infer(images)
            return logits + (logits.mean(axis=0) - logits) * 1e-3

    monkeypatch.setattr(pipeline, "GraphCandidate", MixingGraph)
    with pytest.raises(ParityError, match="batch 2"):
        export_to(tmp_path, batch=(1, 3))


def test_a_row_that_depends_on_padding_is_caught(tmp_path, monkeypatch):
    """Every image beside every other is right; only rows of zeros, which the golden images are not, change it."""

    class PaddedGraph(pipeline.GraphCandidate):
        def infer(self, images):
            padded = len(images) > 1 and not images.any(axis=(1, 2, 3)).all()
            return super().infer(images) + np.float32(1e-2 * padded)

    monkeypatch.setattr(pipeline, "GraphCandidate", PaddedGraph)
    with pytest.raises(ParityError, match=r"the batch around an image changes its logits: check '(alone|padded)'"):
        export_to(tmp_path, batch=(1, 2))
    assert list(tmp_path.iterdir()) == []


def test_simplified_graph_that_is_not_equal_is_dropped(tmp_path, monkeypatch):
    def simplify(traced, *, static):
        wrong = onnx.ModelProto()
        wrong.CopyFrom(traced)
        scale_one_channel(wrong.graph, "head.weight", 2.0)
        return Simplification(wrong, kept=True, reason="smaller")

    monkeypatch.setattr(pipeline, "simplify", simplify)
    report = export_to(tmp_path, simplify=True)
    record = report.bundle.manifest.graph
    assert record["simplified"] is False
    assert "not kept" in record["simplification"]
    assert {rung.stage for rung in report.rungs} == {"eager fp32", "fused", "traced", "onnxruntime"}


def test_simplified_graph_that_onnxruntime_refuses_is_dropped(tmp_path, monkeypatch):
    def simplify(traced, *, static):
        wrong = onnx.ModelProto()
        wrong.CopyFrom(traced)
        wrong.graph.node[0].op_type = "NoSuchOperator"
        return Simplification(wrong, kept=True, reason="smaller")

    monkeypatch.setattr(pipeline, "simplify", simplify)
    record = export_to(tmp_path, simplify=True).bundle.manifest.graph
    assert record["simplified"] is False
    assert "NoSuchOperator" in record["simplification"]


def test_traced_graph_that_onnxruntime_refuses_is_a_failed_export(tmp_path, monkeypatch):
    def break_node(graph):
        graph.node[0].op_type = "NoSuchOperator"

    monkeypatch.setattr(pipeline, "trace", trace_with(break_node))
    with pytest.raises(ExportError, match="NoSuchOperator"):
        export_to(tmp_path)
    assert list(tmp_path.iterdir()) == []


def best_become_worst(graph):
    top_k = next(node for node in graph.node if node.op_type == "TopK")
    for attribute in top_k.attribute:
        if attribute.name == "largest":
            attribute.i = 0


def test_top_k_that_contradicts_the_logits_is_caught(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "trace", trace_with(best_become_worst))
    with pytest.raises(ExportError, match="best classes"):
        export_to(tmp_path, top_k=2)
    assert list(tmp_path.iterdir()) == []


def reverse_channels(graph):
    shift = next(constant for constant in graph.initializer if constant.name == "preprocessing.shift")
    values = np.ascontiguousarray(numpy_helper.to_array(shift)[::-1])
    shift.CopyFrom(numpy_helper.from_array(values, shift.name))


def test_wrong_normalization_in_the_graph_is_caught(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "trace", trace_with(reverse_channels))
    with pytest.raises(ParityError, match=r"'traced'.*first wrong module: preprocessing "):
        export_to(tmp_path, uint8_input=True)

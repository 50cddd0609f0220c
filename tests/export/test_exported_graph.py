"""What the exported file promises, for all five variants and every kind of graph."""

import json
from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from levit_deploy.architectures import VARIANTS, config_for
from levit_deploy.bundle import MODEL
from levit_deploy.fusion import fuse
from levit_deploy.initialization import randomize
from levit_deploy.model import Levit
from levit_deploy.preprocessing import normalize
from levit_export import ExportRequest, export
from levit_export.loading import load_weights
from levit_export.request import Target

FORBIDDEN = {"Identity", "BatchNormalization", "Dropout", "Shape", "Gather", "Unsqueeze", "Concat", "Size"}
SMALL = {"arch": "128S", "image_size": 64}
KINDS = [
    # At the resolution of the paper once: what the graphs promise does not depend on it, what an export costs does.
    *(
        pytest.param({"arch": arch} if arch == "128S" else {"arch": arch, "image_size": 96}, id=f"{arch}-static")
        for arch in VARIANTS
    ),
    pytest.param({**SMALL, "batch": (1, 3)}, id="dynamic"),
    pytest.param({**SMALL, "target": "gpu", "batch": (2, 4)}, id="gpu-dynamic-from-2"),
    pytest.param({"arch": "128", "image_size": 80, "target": "gpu", "opset": 21}, id="gpu-odd-grid-opset-21"),
    pytest.param({**SMALL, "uint8_input": True, "top_k": 3, "batch": (3, 3)}, id="uint8-top3-static-3"),
]


def request_options(options):
    return {**options, **({"target": Target(options["target"])} if "target" in options else {})}


@pytest.fixture(params=KINDS)
def report(request, exported):
    return exported(**request_options(request.param))


@pytest.fixture
def graph(report):
    return onnx.load_model_from_string(report.bundle.read(MODEL))


def test_passes_the_checker_with_shapes_of_every_value(graph):
    onnx.checker.check_model(graph, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(graph, check_type=True, strict_mode=True, data_prop=True)
    known = {value.name for value in (*inferred.graph.value_info, *inferred.graph.output)}
    assert {name for node in graph.graph.node for name in node.output} <= known


def test_holds_nothing_that_inference_does_not_need(graph):
    operators = Counter(node.op_type for node in graph.graph.node)
    assert not FORBIDDEN & set(operators)
    read = {name for node in graph.graph.node for name in node.input} | {o.name for o in graph.graph.output}
    assert all(read.intersection(node.output) for node in graph.graph.node)
    assert {constant.name for constant in graph.graph.initializer} <= read


def test_names_carry_paths_of_the_reference_model(report, graph):
    modules = {name for name, _ in Levit(report.bundle.manifest.config).named_modules()}
    modules |= {"levit", "preprocessing"}
    paths = {node.name.rsplit("/", 1)[0] for node in graph.graph.node}
    assert paths <= modules
    own_results = {o.name for o in graph.graph.output}
    assert all(name in own_results or name.rsplit("/", 1)[0] in modules for n in graph.graph.node for name in n.output)
    # Every layer with weights must be found under its own name.
    layers = {name for name in modules if name.endswith((".qkv", ".projection", ".expand", ".contract"))}
    assert layers <= paths


def test_file_alone_tells_what_it_is(report, graph):
    recipe = {entry.key: entry.value for entry in graph.metadata_props}
    manifest = report.bundle.manifest
    assert recipe["levit.arch"] == manifest.config.arch
    assert json.loads(recipe["levit.preprocessing"]) == manifest.preprocessing.to_json()
    assert recipe["levit.precision"] == "fp32"
    assert recipe["levit.labels_sha256"] == manifest.members["labels.txt"].sha256
    assert recipe["levit.weights_sha256"] == manifest.weights["state_sha256"]


def test_no_trace_of_the_exporting_machine(report, graph):
    assert not any(node.metadata_props or node.doc_string for node in graph.graph.node)
    assert not any(value.metadata_props or value.doc_string for value in graph.graph.value_info)
    for constant in graph.graph.initializer:
        constant.ClearField("raw_data")  # random bytes, in which anything may occur
    text = str(graph)
    assert ".py" not in text
    assert "site-packages" not in text


def test_logits_equal_the_eager_model_at_every_advertised_batch(report):
    """An independent replay: own session, own loop, float64 eager model built here."""
    bundle = report.bundle
    manifest = bundle.manifest
    model = Levit(manifest.config)
    randomize(model, 0)
    pixels = bundle.golden().images
    floats = normalize(pixels, manifest.preprocessing)
    with torch.no_grad():
        truth = model.double().eval()(torch.from_numpy(floats).double()).numpy()
    np.testing.assert_allclose(truth, bundle.golden().logits, atol=1e-10)
    feed = pixels if manifest.input.dtype == "uint8" else floats
    session = onnxruntime.InferenceSession(bundle.read(MODEL))
    for size in manifest.batch_sizes.verified:
        rows = np.arange(size) % len(feed)
        (logits,) = session.run(["logits"], {"images": feed[rows]})
        error = np.abs(logits - truth[rows]).max(axis=1)
        assert (error <= np.array(manifest.golden_tolerance)[rows]).all()
        assert error.max() < 1e-4 * np.abs(truth).max()


def test_batch_sizes_are_what_was_advertised(report):
    session = onnxruntime.InferenceSession(report.bundle.read(MODEL))
    manifest = report.bundle.manifest
    assert session.get_inputs()[0].shape == list(manifest.input.shape)
    assert [output.shape for output in session.get_outputs()] == [list(o.shape) for o in manifest.outputs]
    assert manifest.batch_sizes.dynamic == isinstance(manifest.input.shape[0], str)


def test_top_k_outputs_are_the_best_of_the_logits(exported):
    bundle = exported(**SMALL, uint8_input=True, top_k=3, batch=(3, 3)).bundle
    session = onnxruntime.InferenceSession(bundle.read(MODEL))
    logits, probabilities, classes = session.run(None, {"images": bundle.golden().images[:3]})
    np.testing.assert_array_equal(classes, np.argsort(-logits, axis=1)[:, :3])
    softmax = np.exp(logits - logits.max(1, keepdims=True))
    softmax /= softmax.sum(1, keepdims=True)
    np.testing.assert_allclose(probabilities, np.take_along_axis(softmax, classes, 1), rtol=1e-5)


def test_fused_graph_is_smaller_than_any_unfused_one(exported):
    # One convolution for each linear layer and one matrix product for the heads; nothing besides attention.
    config = config_for("128S")
    graph = onnx.load_model_from_string(exported(arch="128S").bundle.read(MODEL)).graph
    operators = Counter(node.op_type for node in graph.node)
    blocks, downsamplers = sum(config.depths), 2
    assert operators["Conv"] == 4 + 4 * blocks + 5 * downsamplers
    assert operators["Gemm"] == 1
    assert operators["MatMul"] == 2 * (blocks + downsamplers)
    assert operators["HardSwish"] == 3 + 2 * (blocks + downsamplers)


def test_same_input_gives_the_same_bytes(exported, tmp_path):
    first = exported(**SMALL, batch=(1, 3)).bundle
    second = export(ExportRequest(output=tmp_path / "again", **SMALL, batch=(1, 3)))
    for name in ("manifest.json", *first.manifest.members):
        assert (first.path / name).read_bytes() == (second.path / name).read_bytes(), name


def test_another_seed_gives_other_weights():
    first, other = (load_weights(ExportRequest(**SMALL, seed=seed)).record["state_sha256"] for seed in (0, 1))
    assert first != other


def test_fused_eager_network_equals_the_published_parameter_count():
    # LEVIT.md: 128S, batch normalisation folded, one head; biases are gathered, so tables are not counted.
    model = Levit(config_for("128S"))
    tables = sum(p.numel() for name, p in model.named_parameters() if name.endswith("table"))
    assert sum(p.numel() for p in fuse(model).parameters()) == 7_371_466 - tables

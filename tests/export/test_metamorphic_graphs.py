"""The batch suite on real graphs in ONNX Runtime: ours pass bit for bit, graphs that couple a batch's rows never do."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from levit_deploy.bundle import MODEL, Bundle
from levit_deploy.metamorphic import (
    ALONE,
    DUPLICATED,
    EXTREME_NEIGHBOURS,
    ORDER,
    PADDED,
    PERMUTED,
    REPEATED,
    BatchCheck,
    Infer,
    batch_suite,
)
from levit_deploy.onnxruntime_session import open_session
from levit_deploy.preprocessing import normalize
from levit_engines import open_runner

SIZES = (1, 2, 3, 4, 5)
FIRST_BLOCK = "stages.0.blocks.0/Add_1"
OF_NEIGHBOURS = {PERMUTED, ALONE, PADDED, EXTREME_NEIGHBOURS}
Defect = Callable[[onnx.GraphProto], None]


def suite(bundle: Bundle, infer: Infer, sizes: Sequence[int] = SIZES) -> tuple[BatchCheck, ...]:
    """Every check on the golden images, held to the bounds that the export derived for them."""
    inputs = normalize(bundle.golden().images, bundle.manifest.preprocessing)
    return batch_suite(infer, inputs, np.array(bundle.manifest.golden_tolerance), sizes)


def infer_with(model: onnx.ModelProto) -> Infer:
    session = open_session(model.SerializeToString())

    def infer(images: NDArray[Any]) -> NDArray[np.float32]:
        (logits,) = session.run(["logits"], {"images": images})
        return np.asarray(logits)

    return infer


def missed(results: Sequence[BatchCheck]) -> dict[int, set[str]]:
    misses: dict[int, set[str]] = {}
    for result in results:
        if not result:
            misses.setdefault(result.batch_size, set()).add(result.check)
    return misses


@pytest.fixture(scope="module")
def bundle(exported):
    return exported(arch="128S", image_size=64, batch=(1, 4)).bundle


@pytest.fixture(scope="module")
def honest_model(bundle):
    return onnx.load_model_from_string(bundle.read(MODEL))


def test_exported_graph_passes_bit_for_bit(bundle):
    with open_runner(bundle) as runner:
        results = suite(bundle, runner.infer, runner.batch_sizes.verified)
    assert all(results)
    assert {result.batch_size for result in results} == {1, 2, 3, 4}
    assert all(result.identical_rows == result.rows for result in results)


# Planted defects


def insert_behind(graph: onnx.GraphProto, value: str, nodes: Sequence[onnx.NodeProto]) -> None:
    """Put `nodes`, which read `value` and end in an output "replaced", between `value` and all that read it."""
    readers = [node for node in graph.node if value in node.input]
    assert readers, value
    for node in readers:
        node.input[:] = ["replaced" if name == value else name for name in node.input]
    producer = next(position for position, node in enumerate(graph.node) if value in node.output)
    for offset, node in enumerate(nodes, start=1):
        graph.node.insert(producer + offset, node)


def add_constants(graph: onnx.GraphProto, **constants: Any) -> None:
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())


def attend_over_the_batch(graph: onnx.GraphProto) -> None:
    softmax = next(node for node in graph.node if node.op_type == "Softmax")
    del softmax.attribute[:]
    softmax.attribute.append(helper.make_attribute("axis", 0))


def normalize_over_the_batch(factor: float) -> Defect:
    """x - factor * (mean of x over the batch), which for a batch of one is a scale and nothing else."""

    def plant(graph: onnx.GraphProto) -> None:
        add_constants(graph, batch_axis=np.array([0], np.int64), factor=np.float32(factor))
        insert_behind(
            graph,
            FIRST_BLOCK,
            [
                helper.make_node("ReduceMean", [FIRST_BLOCK, "batch_axis"], ["mean"], keepdims=1),
                helper.make_node("Mul", ["mean", "factor"], ["part"]),
                helper.make_node("Sub", [FIRST_BLOCK, "part"], ["replaced"]),
            ],
        )

    return plant


def leak_from_the_row_before(factor: float) -> Defect:
    """x + factor * (x of the row before; the last row is before the first)."""

    def plant(graph: onnx.GraphProto) -> None:
        numbers = {"zero": [0], "last": [-1], "end": [np.iinfo(np.int64).max]}
        add_constants(graph, factor=np.float32(factor), **{name: np.array(n, np.int64) for name, n in numbers.items()})
        insert_behind(
            graph,
            FIRST_BLOCK,
            [
                helper.make_node("Slice", [FIRST_BLOCK, "last", "end", "zero"], ["tail"]),
                helper.make_node("Slice", [FIRST_BLOCK, "zero", "last", "zero"], ["head"]),
                helper.make_node("Concat", ["tail", "head"], ["rolled"], axis=0),
                helper.make_node("Mul", ["rolled", "factor"], ["part"]),
                helper.make_node("Add", [FIRST_BLOCK, "part"], ["replaced"]),
            ],
        )

    return plant


def quantize_over_the_batch(graph: onnx.GraphProto) -> None:
    """8 bits over the range of the whole batch, as dynamic quantisation takes it."""
    quantized = ["numbers", "scale", "zero_point"]
    insert_behind(
        graph,
        FIRST_BLOCK,
        [
            helper.make_node("DynamicQuantizeLinear", [FIRST_BLOCK], quantized),
            helper.make_node("DequantizeLinear", quantized, ["replaced"]),
        ],
    )


def defective(model: onnx.ModelProto, plant: Defect) -> onnx.ModelProto:
    changed = copy.deepcopy(model)
    plant(changed.graph)
    onnx.checker.check_model(changed)
    return changed


DEFECTS = {
    "attention over the batch": (attend_over_the_batch, OF_NEIGHBOURS | {DUPLICATED}),
    "normalisation over the batch": (normalize_over_the_batch(1e-2), OF_NEIGHBOURS),
    "faint normalisation over the batch": (normalize_over_the_batch(2e-6), {EXTREME_NEIGHBOURS}),
    "leak from the row before": (leak_from_the_row_before(1e-2), OF_NEIGHBOURS),
    "faint leak from the row before": (leak_from_the_row_before(1e-6), {EXTREME_NEIGHBOURS}),
}


@pytest.mark.parametrize(("plant", "checks"), DEFECTS.values(), ids=DEFECTS.keys())
def test_graph_that_couples_the_rows_is_caught_at_every_batch_size(plant, checks, bundle, honest_model):
    results = suite(bundle, infer_with(defective(honest_model, plant)))
    assert missed(results) == dict.fromkeys(SIZES[1:], checks)
    assert {r.check for r in results if r.batch_size == 1} == {REPEATED, ORDER}


def test_quantisation_over_the_range_of_the_batch_is_caught(bundle, honest_model):
    """Zeros may lie inside the range of every image: only real neighbours are sure to show it."""
    misses = missed(suite(bundle, infer_with(defective(honest_model, quantize_over_the_batch))))
    assert misses.keys() == set(SIZES[1:])
    for checks in misses.values():
        assert {PERMUTED, EXTREME_NEIGHBOURS} <= checks <= OF_NEIGHBOURS

"""A network small enough to be computed by hand, and exact in every precision: its numbers are small and whole."""

from __future__ import annotations

import numpy as np

INPUT, OUTPUT = "images", "logits"
# A convolution, because on a GPU that takes another library than the product after it.
IMAGE = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3) - 3
KERNEL = np.array([[[[1, 0], [0, 1]]], [[[-1, 1], [2, 0]]]], np.float32)
WEIGHTS = (np.arange(24, dtype=np.float32).reshape(8, 3) % 7) - 2
EXPECTED = np.array([[12, 14, 37]], np.float32)
OPSET, IR_VERSION = 17, 8
# Room for the transforms by which some engines compute convolutions; a wrong number is off by a whole one.
TOLERANCE = 1e-2


class MismatchError(Exception):
    """An engine gave other numbers than the right ones."""


def sample_graph() -> bytes:
    """The network as ONNX."""
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Conv", [INPUT, "kernel"], ["convolved"]),
        helper.make_node("Relu", ["convolved"], ["rectified"]),
        helper.make_node("Flatten", ["rectified"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], [OUTPUT]),
    ]
    graph = helper.make_graph(
        nodes,
        "levit-doctor",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, IMAGE.shape)],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, EXPECTED.shape)],
        [numpy_helper.from_array(KERNEL, "kernel"), numpy_helper.from_array(WEIGHTS, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return bytes(model.SerializeToString())


def require_expected(numbers: object) -> None:
    """Raise MismatchError unless `numbers` are those of the network."""
    found = np.asarray(numbers)
    if found.shape != EXPECTED.shape or not (np.abs(found - EXPECTED) <= TOLERANCE).all():
        raise MismatchError(f"gave {found.tolist()}, right is {EXPECTED.tolist()}")

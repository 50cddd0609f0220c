"""The linear layers of an int8 graph for CPUs, as levit_export.precision.integers writes them: pairs of Q and DQ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from levit_deploy.errors import BundleError

LARGEST_WEIGHT = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizedWeights:
    """Weights (outputs, inputs), whole numbers from -64 to 64, with the `scales` (outputs,) of their steps.

    What goes into the layer becomes round(value / `input_scale`) + `input_offset`, from 0 to 255.
    """

    values: NDArray[np.int8]
    scales: NDArray[np.float32]
    input_scale: float
    input_offset: int


def split_quantized(graph: bytes, *, name: str) -> tuple[bytes, dict[str, QuantizedWeights]]:
    """`graph` less the constants of its quantised layers, and these layers by the path of their weights.

    Raises BundleError for what levit-export would not have written.
    """
    try:
        model = onnx.load_model_from_string(graph)
    except Exception as error:  # protobuf's exceptions have no public base class
        raise BundleError(f"{name}: not an ONNX graph; export it again") from error
    constants = {constant.name: constant for constant in model.graph.initializer}
    try:
        layers = {f"{path}.weight": layer for path, layer in _layers(model.graph, constants)}
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise BundleError(f"{name}: a quantised layer is not as levit-export writes it; export it again") from error
    in_pairs = {used for node in model.graph.node if node.op_type in _PAIR for used in node.input}
    for constant in [constant for constant in model.graph.initializer if constant.name in in_pairs]:
        model.graph.initializer.remove(constant)
    return model.SerializeToString(), layers


_PAIR = ("QuantizeLinear", "DequantizeLinear")


def _layers(
    graph: onnx.GraphProto, constants: Mapping[str, onnx.TensorProto]
) -> Iterator[tuple[str, QuantizedWeights]]:
    producers = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        weights = producers.get(node.input[1]) if node.op_type == "MatMul" else None
        if weights is None or weights.op_type != "DequantizeLinear":
            continue
        quantize = producers[producers[node.input[0]].input[0]]
        (values, scales, zeros), (scale, offset) = (
            [onnx.numpy_helper.to_array(constants[used]) for used in used_by]
            for used_by in (weights.input, quantize.input[1:])
        )
        layer = QuantizedWeights(
            values=values.T,
            scales=scales.astype(np.float32),
            input_scale=float(scale),
            input_offset=int(offset),
        )
        is_ours = (
            values.dtype == np.int8
            and offset.dtype == np.uint8
            and np.abs(values.astype(np.int16)).max() <= LARGEST_WEIGHT
            and not zeros.any()
            and scales.shape == values.shape[1:]
            and bool((np.isfinite(scales) & (scales > 0)).all() and 0 < layer.input_scale < np.inf)
        )
        if not is_ours:
            raise ValueError(node.name)
        yield node.name.rsplit("/", 1)[0], layer

"""What TensorRT would refuse, or worse, silently read as something else, found in the ONNX graph before it sees it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")
INTEGER_ARITHMETIC = ("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear")
_WAY_OUT = "quantise symmetrically to int8, weights and inputs of Conv and Gemm only, biases not at all"


def violations(model: onnx.ModelProto) -> tuple[str, ...]:
    """Every node that breaks a rule, with its operator and the reason; empty when all is read as meant."""
    constants = _constants(model.graph)
    return tuple(
        f"node {node.name or ', '.join(node.output)!r} ({node.op_type}): {reason}"
        for node in _nodes(model.graph)
        for reason in _reasons(node, constants)
    )


def _reasons(node: onnx.NodeProto, constants: Mapping[str, TensorProto]) -> Iterator[str]:
    if node.domain in ("", "ai.onnx") and node.op_type in INTEGER_ARITHMETIC:
        yield f"TensorRT has no integer operators; quantise with QuantizeLinear and DequantizeLinear: {_WAY_OUT}"
    if node.op_type not in QUANTIZERS:
        return
    quantized = _quantized_type(node, constants)
    if quantized == TensorProto.UINT8:
        yield f"uint8, which TensorRT silently reads as int8, so that values above 127 clip; {_WAY_OUT}"
    elif quantized == TensorProto.INT32:
        yield f"int32, as of a quantised bias, which TensorRT refuses; {_WAY_OUT}"
    zero_point = constants.get(_input(node, 2))
    # A zero point of FP8 or of 4 bits is zero where its bytes are: no NumPy type is needed to see that.
    if zero_point is not None and np.any(_values(zero_point)):
        yield f"its zero point is not 0, and TensorRT knows symmetric quantisation only; {_WAY_OUT}"
    scale = constants.get(_input(node, 1))
    if scale is not None:
        yield from _scale_reasons(_values(scale))


def _scale_reasons(scale: NDArray[np.float64]) -> Iterator[str]:
    # Written so that NaN is caught too.
    if not bool(np.all(scale > 0)):
        yield "its scale is not above 0 everywhere; a channel of zeros needs scale 1"
    elif not bool(np.all(scale.astype(np.float16) > 0)):
        yield "its scale is 0 in fp16, below 3e-8; a channel of zeros needs scale 1"


def _quantized_type(node: onnx.NodeProto, constants: Mapping[str, TensorProto]) -> int | None:
    """The quantised element type; None where another node decides it."""
    zero_point = _input(node, 2)
    if zero_point:
        return constants[zero_point].data_type if zero_point in constants else None
    if node.op_type == "QuantizeLinear":
        asked = next((item.i for item in node.attribute if item.name == "output_dtype"), TensorProto.UNDEFINED)
        return asked or TensorProto.UINT8  # ONNX's default where nothing says otherwise
    source = constants.get(_input(node, 0))
    return None if source is None else source.data_type


def _input(node: onnx.NodeProto, index: int) -> str:
    return node.input[index] if len(node.input) > index else ""


def _values(tensor: TensorProto) -> NDArray[np.float64]:
    return np.asarray(numpy_helper.to_array(tensor)).astype(np.float64)


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Every node, those of branches and loops too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _constants(graph: onnx.GraphProto) -> dict[str, TensorProto]:
    found = {tensor.name: tensor for tensor in graph.initializer}
    for node in _nodes(graph):
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                found[node.output[0]] = attribute.t
            for inner in (attribute.g, *attribute.graphs):
                found |= {tensor.name: tensor for tensor in inner.initializer}
    return found

"""8-bit integers: Q/DQ pairs around the linear layers, with ranges from real images, by ONNX Runtime's quantiser.

What goes into a linear layer of the stages becomes integers, and so do its weights, with a scale for each output.
Results, residuals, attention, stem and head stay floating-point numbers: docs/design/int8.md has the figures.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationMethod, QuantType, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from levit_deploy.errors import ExportError
from levit_deploy.quantization_noise import QuantizedLayer
from levit_export.forms.packed import MovedRows
from levit_export.naming import SEPARATOR
from levit_export.passes.promises import require_promises
from levit_export.precision.ranges import value_ranges
from levit_export.request import Calibration, Target
from levit_export.tracing import finish_serialized

LINEAR = ("MatMul", "Gemm")
PAIR = ("QuantizeLinear", "DequantizeLinear")
QUANTIZED_PART = "stages."
NOTHING_MOVED: Mapping[str, MovedRows] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """Which integers one kind of hardware computes with. Weights are signed and symmetric, activations as it says."""

    signed: bool
    symmetric: bool
    weight_bits: int

    def to_json(self) -> dict[str, str]:
        """What the manifest says of it."""
        activations = f"{'int8' if self.signed else 'uint8'}{', symmetric' if self.symmetric else ''}"
        return {"activations": activations, "weights": f"int8, {self.weight_bits} bits"}


# Weights of 8 bits would saturate in the instruction that CPUs without VNNI multiply unsigned bytes with; those of
# 7 bits are the same numbers on every CPU. TensorRT knows signed bytes without an offset only.
SCHEMES: Mapping[Target, Scheme] = MappingProxyType(
    {
        Target.CPU: Scheme(signed=False, symmetric=False, weight_bits=7),
        Target.GPU: Scheme(signed=True, symmetric=True, weight_bits=8),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """A quantised graph, and its quantised layers by module path in the fused network."""

    model: onnx.ModelProto
    layers: Mapping[str, QuantizedLayer]


class Quantizer:
    """Quantises the linear layers of one graph, in the form that its target gets, once its values are known."""

    def __init__(
        self,
        model: onnx.ModelProto,
        inputs: Sequence[NDArray[Any]],
        method: Calibration,
        *,
        target: Target = Target.CPU,
        moved: Mapping[str, MovedRows] = NOTHING_MOVED,
    ) -> None:
        """Run `inputs`, batches that the graph takes, and derive ranges from the values that flow.

        `moved` tells of which layers of the fused network the packed ones are.
        """
        self._model, self._target, self._moved = model, target, moved
        self._layers = {
            name: moved[path].path if path in moved else path for name, path in linear_layers(model).items()
        }
        types = _input_types(model, self._layers)
        with _quiet():
            ranges = value_ranges(model, list(types), inputs, method, symmetric=SCHEMES[target].symmetric)
        # ONNX Runtime wants a range in the type of its value.
        typed = {name: (low.astype(types[name]), high.astype(types[name])) for name, (low, high) in ranges.items()}
        self._ranges = TensorsData(CalibrationMethod.MinMax, typed)

    def quantize(self, kept: Collection[str] = ()) -> Quantization:
        """The graph with its linear layers quantised, but for those at the paths `kept`.

        Raises ExportError when the result breaks a promise.
        """
        chosen = {name: path for name, path in self._layers.items() if path not in kept}
        if not chosen:
            return Quantization(model=_copy(self._model), layers={})
        scheme = SCHEMES[self._target]
        with _quiet():
            quantizer = QDQQuantizer(
                _copy(self._model),
                per_channel=True,
                reduce_range=scheme.weight_bits == 7,
                weight_qType=QuantType.QInt8,
                activation_qType=QuantType.QInt8 if scheme.signed else QuantType.QUInt8,
                tensors_range=self._ranges,
                nodes_to_quantize=list(chosen),
                nodes_to_exclude=[],
                op_types_to_quantize=list(LINEAR),
                extra_options={
                    "ActivationSymmetric": scheme.symmetric,
                    "QuantizeBias": False,
                    "OpTypesToExcludeOutputQuantization": list(LINEAR),
                },
            )
            quantizer.quantize_model()
        result = finish_serialized(_in_order(quantizer.model.model, chosen))
        _spread_biases(result)
        require_promises(result, static=_is_static(result))
        layers = quantized_layers(result, self._moved)
        missing = sorted(set(chosen.values()) - set(layers))
        if missing:
            raise ExportError(f"ONNX Runtime's quantiser left out {', '.join(missing[:5])}")
        return Quantization(model=result, layers=layers)


def linear_layers(model: onnx.ModelProto) -> dict[str, str]:
    """Module paths of the linear layers to quantise, by the name of the node that multiplies with the weights."""
    constants = {constant.name for constant in model.graph.initializer}
    return {
        node.name: _path(node)
        for node in model.graph.node
        if node.op_type in LINEAR and node.input[1] in constants and node.name.startswith(QUANTIZED_PART)
    }


def quantized_layers(
    model: onnx.ModelProto, moved: Mapping[str, MovedRows] = NOTHING_MOVED
) -> dict[str, QuantizedLayer]:
    """The layers whose input and weights come through DequantizeLinear, by module path in the fused network."""
    writers = {name: node for node in model.graph.node for name in node.output}
    constants = {constant.name: constant for constant in model.graph.initializer}

    def values(name: str) -> NDArray[Any]:
        return numpy_helper.to_array(constants[name])

    layers = {}
    for node in model.graph.node:
        data, weights = (writers.get(name) for name in (*node.input, "", "")[:2])
        if node.op_type not in LINEAR or data is None or weights is None:
            continue
        if not data.op_type == weights.op_type == "DequantizeLinear":
            continue
        scale, zero = float(values(data.input[1])), values(data.input[2])
        reach = np.iinfo(zero.dtype)
        path, steps = _path(node), tuple(float(step) for step in values(weights.input[1]).ravel())
        if path in moved:
            path, steps = moved[path].path, tuple(steps[place] for place in moved[path].places)
        layers[path] = QuantizedLayer(
            step=scale, low=scale * (reach.min - int(zero)), high=scale * (reach.max - int(zero)), weight_steps=steps
        )
    return layers


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser logs advice about preprocessing that was done already, and prints what it does to stdout."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _in_order(model: onnx.ModelProto, layers: Collection[str]) -> onnx.ModelProto:
    """`model` with every Q/DQ pair right before the layer that reads it, and named after that layer.

    The data's pair comes before the weights'. The quantiser lets every reader of a value have it rounded: here only
    the `layers`, by the names of their nodes, do; residuals stay what they were.
    """
    pairs = {node.output[0]: node for node in model.graph.node if node.op_type in PAIR}
    ordered: list[onnx.NodeProto] = []
    placed: set[str] = set()

    def place(value: str, path: str) -> None:
        node = pairs.get(value)
        if node is None or value in placed:
            return
        placed.add(value)
        for needed in node.input:
            place(needed, path)
        node.name = f"{path}{SEPARATOR}{node.op_type}"
        ordered.append(node)

    def exact(value: str) -> str:
        while value in pairs:
            value = pairs[value].input[0]
        return value

    for node in model.graph.node:
        if node.output[0] in pairs:
            continue
        if node.name in layers:
            for value in node.input:
                place(value, _path(node))
        else:
            node.input[:] = [exact(value) for value in node.input]
        ordered.append(node)
    nodes = [_node(node) for node in ordered]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _spread_biases(model: onnx.ModelProto) -> None:
    """Give the biases of quantised layers three dimensions, (1, 1, N).

    With one, ONNX Runtime makes a Gemm of product and sum, which it has no integers for where the bias is float32, and
    gives its signed integers the zero of unsigned ones.
    """
    products = {node.output[0] for node in model.graph.node if node.op_type == "MatMul" and _path(node)}
    biases = {
        name
        for node in model.graph.node
        if node.op_type == "Add" and products.intersection(node.input)
        for name in node.input
    }
    for constant in model.graph.initializer:
        if constant.name in biases and len(constant.dims) == 1:
            constant.dims[:] = (1, 1, *constant.dims)
    kept = [value for value in model.graph.value_info if value.name not in biases]
    del model.graph.value_info[:]
    model.graph.value_info.extend(kept)


def _node(node: onnx.NodeProto) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy


def _path(node: onnx.NodeProto) -> str:
    return str(node.name.rpartition(SEPARATOR)[0])


def _input_types(model: onnx.ModelProto, layers: Collection[str]) -> dict[str, np.dtype[Any]]:
    """The values that these nodes read, and their types, which are those of the weights."""
    types = {constant.name: helper.tensor_dtype_to_np_dtype(constant.data_type) for constant in model.graph.initializer}
    return {node.input[0]: types[node.input[1]] for node in model.graph.node if node.name in layers}


def _is_static(model: onnx.ModelProto) -> bool:
    return all(dimension.HasField("dim_value") for dimension in model.graph.input[0].type.tensor_type.shape.dim)

"""A half-precision graph as a float32 graph of the same numbers, for an engine that has no kernels for it.

Every operation is computed in float32 from values that half precision can hold, and its result is rounded to half
precision at once: products exact, sums in float32, one rounding a result. That is what tensor cores do, and what
ONNX Runtime's CPU provider, which has no bfloat16, can run.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from levit_export.naming import SEPARATOR

HALF_TYPES = frozenset({TensorProto.FLOAT16, TensorProto.BFLOAT16})


def has_half_precision(model: onnx.ModelProto) -> bool:
    """Whether any constant of the graph is in half precision."""
    return any(constant.data_type in HALF_TYPES for constant in model.graph.initializer)


def emulated(model: onnx.ModelProto) -> onnx.ModelProto:
    """A graph with the inputs, outputs and names of `model`, in float32, that rounds as `model` does."""
    typed = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    half = {
        value.name: value.type.tensor_type.elem_type
        for value in typed.graph.value_info
        if value.type.tensor_type.elem_type in HALF_TYPES
    }
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    del graph.value_info[:], graph.node[:], graph.initializer[:]
    graph.initializer.extend(_in_float32(constant) for constant in model.graph.initializer)
    graph.node.extend(node for original in model.graph.node for node in _rounded(original, half))
    return result


def _in_float32(constant: TensorProto) -> TensorProto:
    if constant.data_type not in HALF_TYPES:
        return constant
    return numpy_helper.from_array(numpy_helper.to_array(constant).astype(np.float32), constant.name)


def _rounded(original: onnx.NodeProto, half: dict[str, int]) -> Iterator[onnx.NodeProto]:
    """The node, and behind it casts that round those of its results that are in half precision."""
    node = onnx.NodeProto()
    node.CopyFrom(original)
    rounded = {position: name for position, name in enumerate(original.output) if name in half}
    for position, name in rounded.items():
        node.output[position] = f"{name}~exact"
    yield node
    # Of the same module by their names, and behind its node, so that whoever asks for its result gets the rounded one.
    path = original.name.rpartition(SEPARATOR)[0]
    for name in rounded.values():
        casts = ((f"{name}~exact", f"{name}~half", half[name]), (f"{name}~half", name, TensorProto.FLOAT))
        for source, target, kind in casts:
            label = f"{path}{SEPARATOR}Round~{target.rpartition(SEPARATOR)[2]}"
            yield helper.make_node("Cast", [source], [target], name=label, to=kind)

"""The parameters of the fused network as an ONNX graph of ours carries them. Nothing here needs PyTorch."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray

from levit_deploy.errors import BundleError

# The second factor of a linear layer that is written as a product; levit_export.passes.names names it so.
_FACTOR = re.compile(r"(?P<path>.+)/MatMul(_\d+)?:constant\d+")


def read_parameters(graph: bytes, *, name: str) -> dict[str, NDArray[np.float32]]:
    """Every constant of `graph` that is not a whole number, by its path in the network.

    Weights of products come out as linear layers have them: (outputs, inputs). Raises BundleError, naming the constant,
    for one that is not float32 or not in the file.
    """
    try:
        network = onnx.load_model_from_string(graph).graph
    except Exception as error:  # protobuf's exceptions have no public base class
        raise BundleError(f"{name}: not an ONNX graph; export it again") from error
    found = {}
    for constant in network.initializer:
        if constant.data_type in (onnx.TensorProto.INT64, onnx.TensorProto.INT32, onnx.TensorProto.BOOL):
            continue
        value = _value(constant, name)
        factor = _FACTOR.fullmatch(constant.name)
        path = f"{factor['path']}.weight" if factor else constant.name
        if path in found:
            raise BundleError(f"{name}: two constants are {path}; export it again")
        found[path] = value.T if factor else value
    return _shared(network, found) | found


def _shared(network: onnx.GraphProto, found: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Parameters that are equal to another module's of the same kind: a graph has such a constant once."""
    shared = {}
    for node in network.node:
        reader = node.name.rsplit("/", 1)[0]
        for used in filter(found.__contains__, node.input):
            owner, _, leaf = used.rpartition(".")
            if owner and owner.rpartition(".")[2] == reader.rpartition(".")[2]:
                shared[f"{reader}.{leaf}"] = found[used]
    return shared


def fit(
    parameters: Mapping[str, NDArray[np.float32]], shapes: Mapping[str, tuple[int, ...]], *, name: str
) -> dict[str, NDArray[np.float32]]:
    """`parameters` in exactly these shapes, contiguous; 1x1 convolutions become the linear layers that they are.

    Biases of quantised layers have two dimensions more in front, which are left out. The attention bias of a single key
    may be missing and becomes zero: a softmax over one value is 1, so onnxsim leaves out what goes into it.

    Raises BundleError, naming the first one that is missing, left over, or of another shape.
    """
    for path in parameters:
        if path not in shapes:
            raise BundleError(f"{name}: the network has no parameter {path}; export it again")
    fitted = {}
    for path, shape in shapes.items():
        if path not in parameters and _is_for_one_key(path, shape):
            fitted[path] = np.zeros(shape, np.float32)
            continue
        if path not in parameters:
            raise BundleError(f"{name}: no constant is the network's parameter {path}; export it again")
        value = parameters[path]
        if value.shape not in (shape, (*shape, 1, 1), (1, 1, *shape)):
            raise BundleError(f"{name}: {path} has shape {value.shape}, the network's has {shape}; export it again")
        fitted[path] = np.ascontiguousarray(value.reshape(shape))
    return fitted


def _is_for_one_key(path: str, shape: tuple[int, ...]) -> bool:
    return path.endswith(".attention.bias") and shape[-1] == 1


def _value(constant: onnx.TensorProto, name: str) -> NDArray[np.float32]:
    if constant.data_location == onnx.TensorProto.EXTERNAL:
        raise BundleError(f"{name}: {constant.name} is in another file; export it again")
    if constant.data_type != onnx.TensorProto.FLOAT:
        kind = onnx.TensorProto.DataType.Name(constant.data_type)
        raise BundleError(f"{name}: {constant.name} is {kind}, wanted is FLOAT; export it again")
    try:
        value: NDArray[np.float32] = onnx.numpy_helper.to_array(constant).copy()  # writable, as PyTorch wants it
    except ValueError as error:
        raise BundleError(f"{name}: {constant.name} is damaged; export it again") from error
    return value

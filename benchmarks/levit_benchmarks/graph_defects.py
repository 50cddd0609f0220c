"""Defects of an exported graph: what the naming of a wrong module is proved with.

Each takes a graph, which it spoils, and a generator that chooses place and size. It returns the PyTorch path of the
module it broke, as the parity ladder names it, or None where the graph has no place for such a defect. Shapes stay
what they were: a graph that an engine refuses proves nothing about parity.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from levit_benchmarks.defects import choose, small_size
from levit_deploy.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from levit_deploy.probes import INPUT_PATH, ROOT_PATH
from levit_export.naming import SEPARATOR

GraphDefect = Callable[[onnx.GraphProto, np.random.Generator], str | None]

ALL_BEFORE = -(2**63) + 1  # the end of a slice that runs backwards to the first element
WRONG_ACTIVATIONS = ("Relu", "HardSigmoid", "Elu")


def _path(node: onnx.NodeProto) -> str:
    return node.name.rpartition(SEPARATOR)[0]


def _nodes(graph: onnx.GraphProto, *kinds: str, end: str = "") -> list[onnx.NodeProto]:
    return [node for node in graph.node if node.op_type in kinds and _path(node).endswith(end)]


def _constants(graph: onnx.GraphProto) -> set[str]:
    return {constant.name for constant in graph.initializer}


def _constant(graph: onnx.GraphProto, name: str) -> NDArray[Any]:
    (found,) = (constant for constant in graph.initializer if constant.name == name)
    values: NDArray[Any] = numpy_helper.to_array(found).copy()
    return values


def _give_constant(graph: onnx.GraphProto, node: onnx.NodeProto, position: int, values: NDArray[Any]) -> None:
    """`node` reads `values` from now on; other readers of what it read before keep that."""
    name = f"{node.name}:defect{position}"
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
    node.input[position] = name


def _insert_before(
    graph: onnx.GraphProto, node: onnx.NodeProto, kind: str, path: str, constants: Sequence[Sequence[int]] = ()
) -> onnx.NodeProto:
    """A new node of `kind` between `node` and the first value it reads, named as a part of the module at `path`."""
    name = f"{path}{SEPARATOR}{kind}_of_defect"
    new = onnx.helper.make_node(kind, [node.input[0], *("" for _ in constants)], [name], name=name)
    for position, values in enumerate(constants, start=1):
        _give_constant(graph, new, position, np.array(values, dtype=np.int64))
    node.input[0] = name
    graph.node.insert(list(graph.node).index(node), new)
    return new


def _remove(graph: onnx.GraphProto, node: onnx.NodeProto, instead: str) -> None:
    """Without `node`; who read its result reads `instead`."""
    for reader in graph.node:
        for position, name in enumerate(reader.input):
            if name == node.output[0]:
                reader.input[position] = instead
    graph.node.remove(node)


def _attribute(node: onnx.NodeProto, name: str) -> onnx.AttributeProto:
    (found,) = (attribute for attribute in node.attribute if attribute.name == name)
    assert isinstance(found, onnx.AttributeProto)
    return found


# Constants of layers: a convolution, the Gemm of the head, or a product with a constant and a sum.


def _layers(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    constants = _constants(graph)
    return [node for node in _nodes(graph, "Conv", "Gemm", "MatMul") if node.input[1] in constants]


def _spoil_rows(
    graph: onnx.GraphProto,
    generator: np.random.Generator,
    spoil: Callable[[NDArray[np.float32], np.random.Generator], None],
) -> str:
    """Let `spoil` change the weights (outputs, …) of one layer, in place."""
    node = choose(_layers(graph), generator)
    weights = _constant(graph, node.input[1])
    spoil(weights.T if node.op_type == "MatMul" else weights, generator)
    _give_constant(graph, node, 1, weights)
    return _path(node)


def _any_weight(rows: NDArray[np.float32], generator: np.random.Generator) -> tuple[int, ...]:
    return tuple(int(generator.integers(side)) for side in rows.shape)


def _negate_weight(rows: NDArray[np.float32], generator: np.random.Generator) -> None:
    rows[_any_weight(rows, generator)] *= -1


def _scale_channel(rows: NDArray[np.float32], generator: np.random.Generator) -> None:
    rows[int(generator.integers(len(rows)))] *= np.float32(1 + small_size(generator))


def _lose_weight(rows: NDArray[np.float32], generator: np.random.Generator) -> None:
    rows[_any_weight(rows, generator)] = np.nan


def _cut_to_bfloat16(rows: NDArray[np.float32], _: np.random.Generator) -> None:
    rows[...] = (np.ascontiguousarray(rows).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def _shift_rows(rows: NDArray[np.float32], _: np.random.Generator) -> None:
    rows[...] = np.roll(rows, 1, axis=0)


def negate_weight(graph: onnx.GraphProto, generator: np.random.Generator) -> str:
    """One weight of one layer has the wrong sign."""
    return _spoil_rows(graph, generator, _negate_weight)


def scale_channel(graph: onnx.GraphProto, generator: np.random.Generator) -> str:
    """The weights of one output channel are a little too large or too small."""
    return _spoil_rows(graph, generator, _scale_channel)


def lose_weight(graph: onnx.GraphProto, generator: np.random.Generator) -> str:
    """One weight of one layer is not a number."""
    return _spoil_rows(graph, generator, _lose_weight)


def cut_weights(graph: onnx.GraphProto, generator: np.random.Generator) -> str:
    """The weights of one layer are cut to bfloat16."""
    return _spoil_rows(graph, generator, _cut_to_bfloat16)


def shift_rows(graph: onnx.GraphProto, generator: np.random.Generator) -> str:
    """Every output channel of one layer has the weights of its neighbour."""
    return _spoil_rows(graph, generator, _shift_rows)


def remove_layer_bias(graph: onnx.GraphProto, generator: np.random.Generator) -> str:
    """One layer adds no bias."""
    layer = choose(_layers(graph), generator)
    if layer.op_type == "MatMul":
        (add,) = (node for node in _nodes(graph, "Add") if node.input[0] == layer.output[0])
        _remove(graph, add, layer.output[0])
    else:
        del layer.input[2]
    return _path(layer)


def pad_at_the_end(graph: onnx.GraphProto, generator: np.random.Generator) -> str:
    """One convolution of the stem pads below and to the right only, as another framework would."""
    node = choose([node for node in _nodes(graph, "Conv") if _path(node).startswith("stem.")], generator)
    _attribute(node, "pads").ints[:] = [0, 0, 2, 2]
    return _path(node)


# Attention.


def _bias_sums(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    constants = _constants(graph)
    return [node for node in _nodes(graph, "Add", end=".attention") if node.input[1] in constants]


def roll_bias(graph: onnx.GraphProto, generator: np.random.Generator) -> str:
    """One attention bias is shifted by one key."""
    node = choose(_bias_sums(graph), generator)
    _give_constant(graph, node, 1, np.roll(_constant(graph, node.input[1]), 1, axis=-1))
    return f"{_path(node)}.bias"


def scale_bias(graph: onnx.GraphProto, generator: np.random.Generator) -> str:
    """One attention bias is a little too large or too small for one head."""
    node = choose(_bias_sums(graph), generator)
    bias = _constant(graph, node.input[1])
    bias[..., int(generator.integers(bias.shape[-3])), :, :] *= np.float32(1 + small_size(generator))
    _give_constant(graph, node, 1, bias)
    return f"{_path(node)}.bias"


def remove_bias(graph: onnx.GraphProto, generator: np.random.Generator) -> str:
    """One attention adds no bias."""
    node = choose(_bias_sums(graph), generator)
    _remove(graph, node, node.input[0])
    return f"{_path(node)}.bias"


def swap_queries_and_keys(graph: onnx.GraphProto, generator: np.random.Generator) -> str:
    """One split gives keys for queries and queries for keys."""
    node = choose([node for node in _nodes(graph, "Split") if len(node.output) == 3], generator)
    node.output[0], node.output[1] = node.output[1], node.output[0]
    return _path(node)


def attend_over_another_axis(graph: onnx.GraphProto, generator: np.random.Generator) -> str:
    """One softmax is over queries, heads or the batch."""
    node = choose(_nodes(graph, "Softmax"), generator)
    _attribute(node, "axis").i = choose((-2, 1, 0), generator)
    return _path(node)


def forget_transposition(graph: onnx.GraphProto, generator: np.random.Generator) -> str:
    """The attention weights, or the mixed values of all heads, are not transposed where they should be."""
    writers = {name: node.op_type for node in graph.node for name in node.output}
    wanted = [node for node in _nodes(graph, "Transpose", end=".attention") if _can_stay(node, writers)]
    node = choose(wanted, generator)
    _attribute(node, "perm").ints[:] = range(4)
    return _path(node)


def _can_stay(node: onnx.NodeProto, writers: Mapping[str, str]) -> bool:
    """Whether the graph still has valid shapes without this transposition."""
    writer = writers[node.input[0]]
    # A downsampler has fewer queries than keys. What a product gives is reshaped next, in whatever order it is.
    return (writer == "Softmax" and ".blocks." in node.name) or writer == "MatMul"


def pick_from_flipped_grid(graph: onnx.GraphProto, generator: np.random.Generator) -> str:
    """One downsampler takes its queries from the last row, or token, upwards."""
    layer = choose(_nodes(graph, "Conv", "MatMul", end=".query"), generator)
    # On a grid the query layer itself picks, with its stride.
    path, axis = (_path(layer), 2) if layer.op_type == "Conv" else (_path(layer).removesuffix(".query"), 1)
    _insert_before(graph, layer, "Slice", path, ([-1], [ALL_BEFORE], [axis], [-1]))
    return path


# Blocks, activations, the network itself, the pixels.


def _residual_sums(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    sums = _nodes(graph, "Add")
    return [node for node in sums if _path(node).endswith(".downsample") or _path(node)[:-1].endswith(".blocks.")]


def double_branch(graph: onnx.GraphProto, generator: np.random.Generator) -> str:
    """One residual sum adds one of its two values twice."""
    node = choose(_residual_sums(graph), generator)
    kept = int(generator.integers(2))
    node.input[1 - kept] = node.input[kept]
    return _path(node)


def remove_residual(graph: onnx.GraphProto, generator: np.random.Generator) -> str:
    """One residual sum is not there; one of its two values goes on."""
    node = choose(_residual_sums(graph), generator)
    _remove(graph, node, node.input[int(generator.integers(2))])
    return _path(node)


def replace_activation(graph: onnx.GraphProto, generator: np.random.Generator) -> str:
    """One hard-swish is another function."""
    node = choose(_nodes(graph, "HardSwish"), generator)
    node.op_type = choose(WRONG_ACTIVATIONS, generator)
    return _path(node)


def remove_activation(graph: onnx.GraphProto, generator: np.random.Generator) -> str:
    """One hard-swish is not there."""
    node = choose(_nodes(graph, "HardSwish"), generator)
    _remove(graph, node, node.input[0])
    return _path(node)


def transpose_grid(graph: onnx.GraphProto, _: np.random.Generator) -> str | None:
    """The tokens are numbered by columns instead of rows; on a grid there are no numbers."""
    writers = {name: _path(node) for node in graph.node for name in node.output}
    wanted = (node for node in _nodes(graph, "Reshape", end=ROOT_PATH) if writers[node.input[0]].startswith("stem."))
    node = next(wanted, None)
    if node is None:
        return None
    new = _insert_before(graph, node, "Transpose", ROOT_PATH)
    new.attribute.append(onnx.helper.make_attribute("perm", (0, 1, 3, 2)))
    return ROOT_PATH


def sum_instead_of_mean(graph: onnx.GraphProto, generator: np.random.Generator) -> str:
    """The features are the sum, or the largest, of all tokens."""
    (node,) = _nodes(graph, "ReduceMean")
    node.op_type = choose(("ReduceSum", "ReduceMax"), generator)
    return ROOT_PATH


def forget_last_tokens(graph: onnx.GraphProto, _: np.random.Generator) -> str:
    """The mean is over all tokens, or rows, but the last; over all of them where there is one."""
    (node,) = _nodes(graph, "ReduceMean")
    # Clamped by the operator: of a single row, [-2: -1] reversed keeps that row.
    axis = int(_constant(graph, node.input[1]).min())
    _insert_before(graph, node, "Slice", ROOT_PATH, ([-2], [ALL_BEFORE], [axis], [-1]))
    return ROOT_PATH


def _pixel_node(graph: onnx.GraphProto, kind: str) -> onnx.NodeProto | None:
    return next(iter(_nodes(graph, kind, end=INPUT_PATH)), None)


def reverse_channels(graph: onnx.GraphProto, generator: np.random.Generator) -> str | None:
    """Scale or shift of red and blue are in each other's place."""
    node = _pixel_node(graph, choose(("Mul", "Add"), generator))
    if node is None:
        return None
    _give_constant(graph, node, 1, _constant(graph, node.input[1])[::-1])
    return INPUT_PATH


def swap_mean_and_deviation(graph: onnx.GraphProto, _: np.random.Generator) -> str | None:
    """Pixels are normalised with the deviation for the mean and the mean for the deviation."""
    product, total = _pixel_node(graph, "Mul"), _pixel_node(graph, "Add")
    if product is None or total is None:
        return None
    mean, deviation = np.array((IMAGENET_MEAN, IMAGENET_STD), dtype=np.float32).reshape(2, 3, 1, 1)
    _give_constant(graph, product, 1, 1 / (255 * mean))
    _give_constant(graph, total, 1, -deviation / mean)
    return INPUT_PATH


def transpose_image(graph: onnx.GraphProto, _: np.random.Generator) -> str | None:
    """Rows of pixels are taken for columns."""
    node = _pixel_node(graph, "Transpose")
    if node is None:
        return None
    _attribute(node, "perm").ints[:] = [0, 3, 2, 1]
    return INPUT_PATH


GRAPH_DEFECTS: Mapping[str, GraphDefect] = MappingProxyType(
    {
        "weight sign": negate_weight,
        "scaled channel": scale_channel,
        "weight not a number": lose_weight,
        "weights in bfloat16": cut_weights,
        "shifted rows": shift_rows,
        "missing layer bias": remove_layer_bias,
        "padding at the end": pad_at_the_end,
        "rolled bias": roll_bias,
        "scaled bias of a head": scale_bias,
        "removed bias": remove_bias,
        "swapped queries and keys": swap_queries_and_keys,
        "softmax over another axis": attend_over_another_axis,
        "missing transposition": forget_transposition,
        "wrong tokens picked": pick_from_flipped_grid,
        "doubled branch": double_branch,
        "removed residual": remove_residual,
        "wrong activation": replace_activation,
        "removed activation": remove_activation,
        "transposed grid": transpose_grid,
        "sum instead of mean": sum_instead_of_mean,
        "mean over fewer tokens": forget_last_tokens,
        "reversed channels": reverse_channels,
        "swapped mean and deviation": swap_mean_and_deviation,
        "transposed image": transpose_image,
    }
)

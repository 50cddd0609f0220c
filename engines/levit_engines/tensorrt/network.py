"""What the parser made of a graph: recorded in plain values, and compared with what the manifest promises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from levit_deploy.manifest import Manifest, TensorSpecification
from levit_engines.tensorrt.api import TrtLayer, TrtNetwork, TrtTensor
from levit_engines.tensorrt.tensors import element_type, promised_shape

# Of each precision: the types that it is made of, and those beside them that it may hold.
NEEDED = {"fp32": {"FLOAT"}, "fp16": {"HALF"}, "bf16": {"BF16"}, "int8": {"INT8"}}
ALLOWED = {"fp32": {"FLOAT"}, "fp16": {"FLOAT", "HALF"}, "bf16": {"FLOAT", "BF16"}, "int8": {"FLOAT", "HALF", "INT8"}}
INTEGERS = {"INT32", "INT64", "BOOL"}  # shapes, indices and comparisons, which no precision is about


def describe_network(network: TrtNetwork) -> dict[str, Any]:
    """Layers by type, tensors by element type, casts by both their types, inputs and outputs with their shapes.

    Casts between integers are left out: they belong to the arithmetic of shapes.
    """
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    dtypes = Counter(
        tensor.dtype.name for tensor in [*inputs, *(tensor for layer in layers for tensor in _made(layer))]
    )
    return {
        "layer_count": len(layers),
        "layers": _sorted(Counter(layer.type.name for layer in layers)),
        "dtypes": _sorted(dtypes),
        "casts": _sorted(Counter(cast for layer in layers for cast in _casts(layer))),
        "inputs": [_described(tensor) for tensor in inputs],
        "outputs": [_described(tensor) for tensor in outputs],
    }


def mismatches(record: Mapping[str, Any], manifest: Manifest) -> tuple[str, ...]:
    """Where `record`, of `describe_network`, is not what the manifest promises; empty when all is as it should be."""
    found = [
        *_tensor_mismatches("inputs", record["inputs"], [manifest.input]),
        *_tensor_mismatches("outputs", record["outputs"], manifest.outputs),
    ]
    if manifest.precision not in NEEDED:
        return (*found, f"precision {manifest.precision!r} is unknown, known is {', '.join(NEEDED)}")
    found.extend(_type_mismatches(record["dtypes"], manifest, "network"))
    found.extend(_cast_mismatches(record["casts"], manifest.precision, element_type(manifest.input)))
    return tuple(found)


def engine_mismatches(engine: Mapping[str, Any], manifest: Manifest) -> tuple[str, ...]:
    """Where the layers of a built engine, of `inspection.summarize`, are not of the precision that was asked for.

    Empty too where the inspector told no type, or could not look.
    """
    dtypes = engine.get("dtypes", {})
    return tuple(_type_mismatches(dtypes, manifest, "engine")) if dtypes else ()


def _type_mismatches(dtypes: Mapping[str, int], manifest: Manifest, whose: str) -> Iterator[str]:
    missing = NEEDED[manifest.precision] - set(dtypes)
    foreign = set(dtypes) - ALLOWED[manifest.precision] - INTEGERS - {element_type(manifest.input)}
    if missing or foreign:
        kinds = ", ".join(f"{name} ({count})" for name, count in dtypes.items())
        yield f"precision {manifest.precision} was asked for, the {whose}'s tensors are {kinds}"


def _tensor_mismatches(
    role: str, found: Sequence[Mapping[str, Any]], expected: Sequence[TensorSpecification]
) -> Iterator[str]:
    wanted = [{"name": item.name, "dtype": element_type(item), "shape": promised_shape(item)} for item in expected]
    if list(found) != wanted:
        yield f"{role} were promised as {_text(wanted)}, the network has {_text(found)}"


def _cast_mismatches(casts: Mapping[str, int], precision: str, input_type: str) -> Iterator[str]:
    """Casts between a precision's own types are its business, and pixels become numbers once."""
    own = ALLOWED[precision]
    expected = {_cast(source, target) for source in own for target in own}
    of_pixels = {_cast(input_type, target) for target in own} if input_type not in own else set()
    pixel_casts = sum(count for name, count in casts.items() if name in of_pixels)
    if of_pixels and pixel_casts != 1:
        yield f"the pixels must be cast once, the network casts them {pixel_casts} times"
    others = {name: count for name, count in casts.items() if name not in expected | of_pixels}
    if others:
        listed = ", ".join(f"{count} x {name}" for name, count in others.items())
        yield f"no other casts were expected, the network has {listed}"


def _casts(layer: TrtLayer) -> Iterator[str]:
    if layer.type.name != "CAST":
        return
    source, target = layer.get_input(0), layer.get_output(0)
    names = (source.dtype.name if source is not None else "nothing", target.dtype.name)
    if not set(names) <= INTEGERS:
        yield _cast(*names)


def _cast(source: str, target: str) -> str:
    return f"{source} to {target}"


def _made(layer: TrtLayer) -> list[TrtTensor]:
    return [layer.get_output(index) for index in range(layer.num_outputs)]


def _described(tensor: TrtTensor) -> dict[str, Any]:
    return {"name": tensor.name, "dtype": tensor.dtype.name, "shape": [int(side) for side in tensor.shape]}


def _sorted(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items()))


def _text(tensors: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{item['name']} {item['dtype']} {item['shape']}" for item in tensors) or "none"

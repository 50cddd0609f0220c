"""What an engine takes and gives, and what a manifest promises, in the same words, so that they can be compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from levit_deploy.manifest import TensorSpecification
from levit_engines.tensorrt.api import TrtEngine

# Of the manifest's element types, the library's names.
ELEMENT_TYPES = {
    "float32": "FLOAT",
    "float16": "HALF",
    "bfloat16": "BF16",
    "uint8": "UINT8",
    "int64": "INT64",
    "int32": "INT32",
}


def element_type(specification: TensorSpecification) -> str:
    """The library's name of a promised element type."""
    return ELEMENT_TYPES.get(specification.dtype, specification.dtype)


def promised_shape(specification: TensorSpecification) -> list[int]:
    """A promised shape as the library has it: -1 for a dynamic side."""
    return [side if isinstance(side, int) else -1 for side in specification.shape]


def tensors_of(engine: TrtEngine) -> str:
    """The inputs and outputs of an engine, sorted."""
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    return _listed(
        (engine.get_tensor_mode(name).name, name, engine.get_tensor_dtype(name).name, engine.get_tensor_shape(name))
        for name in names
    )


def promised_tensors(images: TensorSpecification, outputs: Iterable[TensorSpecification]) -> str:
    """The inputs and outputs that a manifest promises, sorted."""
    pairs = [("INPUT", images), *(("OUTPUT", output) for output in outputs)]
    return _listed((mode, item.name, element_type(item), promised_shape(item)) for mode, item in pairs)


def _listed(tensors: Iterable[tuple[str, str, str, Sequence[int]]]) -> str:
    lines = (f"{mode.lower()} {name} {kind} {[int(side) for side in shape]}" for mode, name, kind, shape in tensors)
    return ", ".join(sorted(lines))

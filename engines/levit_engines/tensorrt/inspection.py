"""The layers that an engine really has, as its inspector tells them on a machine with a GPU."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from levit_deploy.errors import ExportError

# Of an inspector's words, the library's names; what holds none of them ("N/A due to dynamic shapes") says nothing.
_WORDS = {
    "float": "FLOAT",
    "fp32": "FLOAT",
    "half": "HALF",
    "fp16": "HALF",
    "bf16": "BF16",
    "bfloat16": "BF16",
    "fp8": "FP8",
    "int8": "INT8",
    "uint8": "UINT8",
    "int32": "INT32",
    "int64": "INT64",
    "bool": "BOOL",
}
_WORD = re.compile(rf"\b({'|'.join(_WORDS)})\b", re.IGNORECASE)


def summarize(information: str) -> dict[str, Any]:
    """Layers of an engine in number and by kind, and the element types of what they read and write.

    `information` is the inspector's JSON. Releases differ: layers are names or objects, and a type stands alone or in
    the text of a format. Raises ExportError when it is no such JSON.
    """
    try:
        layers = json.loads(information)["Layers"]
    except (ValueError, KeyError, TypeError) as error:
        raise ExportError(f"the engine's inspector gave no list of layers ({error}): report this release") from error
    detailed = [layer for layer in layers if isinstance(layer, dict)]
    kinds = Counter(str(layer.get("LayerType", "unknown")) for layer in detailed)
    types = Counter(kind for layer in detailed for kind in _element_types(layer))
    return {"layer_count": len(layers), "layers": dict(sorted(kinds.items())), "dtypes": dict(sorted(types.items()))}


def _element_types(layer: Mapping[str, Any]) -> Iterator[str]:
    """Of the inputs, outputs and weights of a layer, as far as they are told."""
    tensors = [*layer.get("Inputs", ()), *layer.get("Outputs", ()), layer.get("Weights"), layer.get("Bias")]
    for tensor in tensors:
        if isinstance(tensor, dict):
            words = " ".join(str(tensor.get(key, "")) for key in ("Datatype", "Format/Datatype", "Format", "Type"))
            if match := _WORD.search(words):
                yield _WORDS[match[1].lower()]

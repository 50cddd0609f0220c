"""The layers that an engine really has, as its inspector tells them on a machine with a GPU."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from levit_deploy.errors import ExportError


def summarize(information: str) -> dict[str, Any]:
    """Layers of an engine in number and by kind, and the element types of their outputs, from the inspector's JSON.

    Releases differ: layers are names or objects, and a type stands alone or in the text of a format. Raises
    ExportError when it is no such JSON.
    """
    try:
        layers = json.loads(information)["Layers"]
    except (ValueError, KeyError, TypeError) as error:
        raise ExportError(f"the engine's inspector gave no list of layers ({error}): report this release") from error
    detailed = [layer for layer in layers if isinstance(layer, dict)]
    kinds = Counter(str(layer.get("LayerType", "unknown")) for layer in detailed)
    types = Counter(kind for layer in detailed for kind in _output_types(layer))
    return {"layer_count": len(layers), "layers": dict(sorted(kinds.items())), "outputs": dict(sorted(types.items()))}


def _output_types(layer: Mapping[str, Any]) -> Iterator[str]:
    for output in layer.get("Outputs", ()):
        if isinstance(output, dict):
            yield str(output.get("Datatype") or output.get("Format/Datatype") or output.get("Format") or "unknown")

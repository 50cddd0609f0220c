"""What the graphs we export call things. Free of imports, so that whoever only reads a graph can use it."""

from __future__ import annotations

INPUT_NAME = "images"
LOGITS_NAME = "logits"
TOP_K_NAMES = ("top_k_probabilities", "top_k_classes")
BATCH_AXIS = "batch"
# Between the path of a module and the type of a node, in names of nodes and values.
SEPARATOR = "/"


def packed_path(path: str) -> str:
    """The path of the layer that the packed form has in place of the one at `path`."""
    parent, _, name = path.rpartition(".")
    return f"{parent}.packed_{name}"

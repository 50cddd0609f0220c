"""Copies of a bundle with something changed in them, their hashes right or not: for the tests of levit-verify."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import safetensors.numpy
from numpy.typing import NDArray
from onnx import numpy_helper

from levit_deploy.bundle import MANIFEST, MODEL, safetensors_metadata, sha256_of

Document = dict[str, Any]
Tensors = dict[str, NDArray[Any]]


def copy_of(
    original: Path,
    folder: Path,
    members: Mapping[str, bytes] | None = None,
    edit_manifest: Callable[[Document], object] | None = None,
) -> Path:
    """A bundle with these members instead of its own, and their hashes in its manifest, which is edited first."""
    copy = folder / "copy"
    folder.mkdir(exist_ok=True)
    shutil.copytree(original, copy, copy_function=os.link)
    manifest = json.loads((copy / MANIFEST).read_bytes())
    if edit_manifest is not None:
        edit_manifest(manifest)
    for name, content in (members or {}).items():
        replace_file(copy / name, content)
        manifest["members"][name] = {"size_bytes": len(content), "sha256": sha256_of(content)}
    replace_file(copy / MANIFEST, json.dumps(manifest).encode())
    return copy


def replace_file(path: Path, content: bytes) -> None:
    """Never in place: a copy's files are links to the original's."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def edited_json(content: bytes, edit: Callable[[Document], object]) -> bytes:
    document = json.loads(content)
    edit(document)
    return json.dumps(document).encode()


def edited_tensors(
    content: bytes, edit: Callable[[Tensors], object], edit_metadata: Callable[[dict[str, str]], object] | None = None
) -> bytes:
    """A safetensors file, its arrays edited in place or replaced."""
    tensors = {name: values.copy() for name, values in safetensors.numpy.load(content).items()}
    metadata = dict(safetensors_metadata(content))
    edit(tensors)
    if edit_metadata is not None:
        edit_metadata(metadata)
    return safetensors.numpy.save(tensors, metadata)


def edited_graph(bundle: Path, edit: Callable[[onnx.GraphProto], object]) -> bytes:
    """The graph of a bundle with a defect."""
    model = onnx.load_model_from_string((bundle / MODEL).read_bytes())
    edit(model.graph)
    return bytes(model.SerializeToString())


def edit_weights(graph: onnx.GraphProto, name: str, edit: Callable[[NDArray[Any]], object]) -> None:
    """Change the weights called `name` in place."""
    constant = next(constant for constant in graph.initializer if constant.name == name)
    values = numpy_helper.to_array(constant).copy()
    edit(values)
    constant.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), name))

"""Graph and manifest must agree, and the manifest with itself, before anything is inferred."""

from __future__ import annotations

from typing import Any

import pytest
from fixtures_bundle import CLASSES, SIDE, BundleFactory, tiny_model

from levit_deploy.bundle import MODEL
from levit_deploy.errors import BundleError
from levit_deploy.manifest import BatchSizes, TensorSpecification
from levit_engines import open_runner

OTHER_GRAPHS = {
    "dynamic batch": tiny_model(batch="batch"),
    "other batch": tiny_model(batch=2),
    "other classes": tiny_model(classes=6),
    "uint8": tiny_model(dtype="uint8"),
    "other input name": tiny_model().replace(b"images", b"pixels"),
    "other output name": tiny_model().replace(b"logits", b"scores"),
}


@pytest.mark.parametrize("model", OTHER_GRAPHS.values(), ids=OTHER_GRAPHS.keys())
def test_a_graph_that_is_not_the_manifests_is_refused(model: bytes, make_bundle: BundleFactory) -> None:
    with pytest.raises(BundleError, match=r"model\.onnx: (in|out)puts are .* manifest\.json says"):
        open_runner(make_bundle(members={MODEL: model}))


def _input(dtype: str = "float32", layout: str = "NCHW", shape: Any = (1, 3, SIDE, SIDE)) -> dict[str, Any]:
    return {"input": TensorSpecification(name="images", dtype=dtype, layout=layout, shape=shape)}


def _output(name: str = "logits", dtype: str = "float32", shape: Any = (1, CLASSES)) -> dict[str, Any]:
    return {"outputs": (TensorSpecification(name=name, dtype=dtype, layout="NK", shape=shape),)}


CONTRADICTIONS = {
    "float64": _input(dtype="float64"),
    "uint8 NCHW": _input(dtype="uint8"),
    "another side": _input(shape=(1, 3, 64, 64)),
    "a free side": _input(shape=(1, 3, "height", "width")),
    "no dimension": _input(shape=()),
    "batch and shape": {"batch_sizes": BatchSizes(minimum=1, maximum=8, verified=(1,))},
    "no output": {"outputs": ()},
    "no logits": _output(name="scores"),
    "half logits": _output(dtype="float16"),
    "other classes": _output(shape=(1, 7)),
    "other batch": _output(shape=("batch", CLASSES)),
}


@pytest.mark.parametrize("changes", CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())
def test_a_manifest_that_contradicts_itself_is_refused(changes: dict[str, Any], make_bundle: BundleFactory) -> None:
    with pytest.raises(BundleError, match=r"bundle: manifest\.json: "):
        open_runner(make_bundle(**changes))

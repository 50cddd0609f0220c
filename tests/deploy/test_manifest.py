"""A manifest comes from a stranger: every field is checked, and what is at fault is named."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from fixtures_bundle import BundleFactory, tiny_manifest

from levit_deploy.bundle import MANIFEST, MAX_MANIFEST_BYTES, open_bundle
from levit_deploy.errors import BundleError, ConfigError
from levit_deploy.manifest import BatchSizes, Manifest, Member

DOCUMENT = tiny_manifest(members={"model.onnx": Member(size_bytes=3, sha256="ab" * 32)}).to_json()
REMOVED = object()


def changed(path: str, value: object) -> dict[str, Any]:
    """The valid document with the field at the dotted `path` set to `value`, or taken away."""
    document = copy.deepcopy(DOCUMENT)
    *parents, last = path.split("/")
    target: Any = document
    for key in parents:
        target = target[int(key)] if isinstance(target, list) else target[key]
    if value is REMOVED:
        del target[last]
    else:
        target[last] = value
    return document


def test_the_manifest_survives_json() -> None:
    manifest = Manifest.from_json(json.loads(json.dumps(DOCUMENT)))
    assert manifest.to_json() == DOCUMENT


@pytest.mark.parametrize("name", sorted(DOCUMENT))
@pytest.mark.parametrize("value", [REMOVED, None, 1.5, True], ids=["missing", "null", "float", "boolean"])
def test_every_field_is_there_and_of_its_type(name: str, value: object) -> None:
    with pytest.raises(BundleError, match=name):
        Manifest.from_json(changed(name, value))


@pytest.mark.parametrize(
    "path",
    [
        *(f"network/{name}" for name in ("arch", "num_classes", "image_size", "distillation", "heads")),
        *(f"input/{name}" for name in ("name", "dtype", "layout", "shape")),
        *(f"outputs/0/{name}" for name in ("name", "dtype", "layout", "shape")),
        *(f"batch_sizes/{name}" for name in ("minimum", "maximum", "verified")),
        *(f"members/model.onnx/{name}" for name in ("size_bytes", "sha256")),
        *(f"preprocessing/{name}" for name in ("image_size", "mean", "crop_rounding", "layout")),
    ],
)
@pytest.mark.parametrize("value", [REMOVED, None, {}], ids=["missing", "null", "object"])
def test_every_inner_field_is_there_and_of_its_type(path: str, value: object) -> None:
    with pytest.raises(BundleError, match=path.rpartition("/")[2]):
        Manifest.from_json(changed(path, value))


BAD_VALUES = [
    ("schema_version", 2, "schema version 2 is unknown"),
    ("schema_version", 0, "schema version 0 is unknown"),
    ("network/arch", "512", "unknown architecture"),
    ("network/image_size", 30, "multiple of 16"),
    ("network/image_size", 64, "preprocessing makes 32 pixels"),
    ("network/num_classes", 0, "class count 0"),
    ("network/num_classes", True, "num_classes"),
    ("network/heads", [1, 2, 3], "heads"),
    ("network/embed_dims", [1 << 40] * 3, "embed_dims"),
    ("preprocessing/std", [0.0, 1.0, 1.0], "std"),
    ("preprocessing/mean", [float("nan")] * 3, "mean"),
    ("input", [], "input"),
    ("input/shape", [1, 3, 0, 32], "shape"),
    ("input/shape", [1, 3, -1, 32], "shape"),
    ("input/shape", [1, 3, 32.0, 32], "shape"),
    ("input/shape", [True, 3, 32, 32], "shape"),
    ("outputs", ["logits"], "must be an object"),
    ("batch_sizes/minimum", 0, "batch sizes 0"),
    ("batch_sizes/minimum", 2, "batch sizes 2 to 1"),
    ("batch_sizes/verified", [0], "verified"),
    ("batch_sizes/verified", ["1"], "verified"),
    ("versions", {"numpy": 2}, "versions"),
    ("golden_tolerance", [-1e-4], "golden_tolerance"),
    ("golden_tolerance", [float("nan")], "golden_tolerance"),
    ("golden_tolerance", [float("inf")], "golden_tolerance"),
    ("golden_tolerance", [10**400], "golden_tolerance"),
    ("golden_tolerance", ["1"], "golden_tolerance"),
    ("golden_tolerance", [True], "golden_tolerance"),
    ("members/model.onnx", 3, "model.onnx"),
    ("members/model.onnx/size_bytes", -1, "size -1"),
    ("members/model.onnx/size_bytes", 1 << 33, "size 8589934592"),
    ("members/model.onnx/size_bytes", 10**400, "size 1000"),
    ("members/model.onnx/sha256", "AB" * 32, "sha256"),
    ("members/model.onnx/sha256", "ab" * 31, "sha256"),
    ("members/model.onnx/sha256", "ab" * 32 + "\n", "sha256"),
]


@pytest.mark.parametrize(
    ("path", "value", "message"), BAD_VALUES, ids=[f"{path}={value!r:.24}" for path, value, _ in BAD_VALUES]
)
def test_values_out_of_range_are_refused(path: str, value: object, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        Manifest.from_json(changed(path, value))


@pytest.mark.parametrize(
    "name",
    ["../model.onnx", "/etc/passwd", "a/../../b", "a//b", "a/", ".hidden", "a/.hidden", "C:\\x", "a\\b", "",
     "manifest.json", "a\nb", "a\0b", "model.onnx\n", "..", "a/..", "~root", "$HOME", "mödel"],
)  # fmt: skip
def test_member_names_that_are_more_than_names_are_refused(name: str) -> None:
    members = {name: {"size_bytes": 3, "sha256": "ab" * 32}}
    with pytest.raises(BundleError, match="not a member name"):
        Manifest.from_json({**DOCUMENT, "members": members})


def test_a_member_in_a_folder_of_the_bundle_is_allowed() -> None:
    members = {"engines/sm_90.plan": {"size_bytes": 3, "sha256": "ab" * 32}}
    assert list(Manifest.from_json({**DOCUMENT, "members": members}).members) == ["engines/sm_90.plan"]


@pytest.mark.parametrize("document", [None, [], "text", 1, [DOCUMENT]])
def test_only_an_object_is_a_manifest(document: object) -> None:
    with pytest.raises(BundleError, match="must be an object"):
        Manifest.from_json(document)


TEXTS = {
    "empty": b"",
    "cut": json.dumps(DOCUMENT).encode()[:-5],
    "not UTF-8": json.dumps(DOCUMENT).encode().replace(b"tiny", b"t\xefny"),
    "deep arrays": b"[" * 200_000,
    "deep objects": b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
    "number of many digits": b'{"schema_version": ' + b"9" * 10_000 + b"}",
    "two documents": json.dumps(DOCUMENT).encode() * 2,
    "too long": b" " * (MAX_MANIFEST_BYTES + 1),
}


@pytest.mark.parametrize("content", TEXTS.values(), ids=TEXTS.keys())
def test_a_file_that_is_no_json_is_refused_and_named(content: bytes, make_bundle: BundleFactory) -> None:
    path = make_bundle().path
    (path / MANIFEST).write_bytes(content)
    with pytest.raises(BundleError, match=r"bundle/manifest\.json: (not JSON|larger)") as caught:
        open_bundle(path)
    assert len(str(caught.value)) < 500


def test_a_fault_inside_names_the_bundle_too(make_bundle: BundleFactory) -> None:
    path = make_bundle().path
    (path / MANIFEST).write_text(json.dumps({**DOCUMENT, "schema_version": 9}))
    with pytest.raises(BundleError, match=r"bundle: manifest\.json: schema version 9"):
        open_bundle(path)


@pytest.mark.parametrize("kind", ["absent", "file", "folder"])
def test_what_is_no_bundle_is_named(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "thing"
    if kind == "file":
        path.write_text("text")
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(BundleError, match="thing: not a bundle"):
        open_bundle(path)


@pytest.mark.parametrize(("minimum", "maximum"), [(0, 1), (2, 1), (-1, 1)])
def test_batch_sizes_that_cannot_be(minimum: int, maximum: int) -> None:
    with pytest.raises(ConfigError, match="batch sizes"):
        BatchSizes(minimum=minimum, maximum=maximum, verified=())

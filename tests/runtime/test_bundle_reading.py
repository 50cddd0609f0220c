"""The C++ runtime reads the bundles that levit_deploy reads, and refuses those that it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_surgery import copy_of, edited_tensors, replace_file
from fixtures_bundle import BundleFactory
from reading_hooks import ReadingHooks, RefusedError, build_reading_hooks

from levit_deploy.bundle import GOLDEN, LABELS, MANIFEST, MODEL, open_bundle
from levit_deploy.errors import BundleError

Document = dict[str, Any]


@pytest.fixture(scope="module")
def hooks(tmp_path_factory: pytest.TempPathFactory) -> ReadingHooks:
    return ReadingHooks(build_reading_hooks(tmp_path_factory.mktemp("hooks")))


def engine_entry(**changes: Any) -> Document:
    entry = {
        "files": ["engines/x/model.ort"],
        "model_sha256": "0" * 64,
        "libraries": {"onnxruntime": "1.31.1"},
        "requirements": {"cpu": "avx2"},
        "profile": {"minimum": 1, "optimum": 1, "maximum": 1},
        "options": {},
        "network": {},
        "machine": {},
        "build_seconds": 2,
        "verified": "golden",
    }
    return {**entry, **changes}


def with_engine(**changes: Any) -> Callable[[Document], object]:
    def edit(manifest: Document) -> None:
        manifest["members"]["engines/x/model.ort"] = {"size_bytes": 0, "sha256": "0" * 64}
        manifest["engines"] = {"x": engine_entry(**changes)}

    return edit


def setting(*path: str, to: object) -> Callable[[Document], object]:
    def edit(manifest: Document) -> None:
        inner = manifest
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = to

    return edit


ACCEPTED: dict[str, Callable[[Document], object]] = {
    "unchanged": lambda manifest: None,
    "an unknown field": setting("comment", to="of somebody"),
    "an engine": with_engine(),
    "whole numbers as mean": setting("preprocessing", "mean", to=[0, 0, 1]),
    "a floating-point dimension": setting("network", "heads", to=[4.0, 6, 8]),
    "nested records": setting("graph", to={"a": [[[{"b": None}]]], "c": 1e300, "d": 10**30}),
    "a large tolerance": setting("golden_tolerance", to=[10**30, 0]),
    "texts of other scripts": setting("name", to="Ärger 名前 \U0001f600"),
}

REFUSED: dict[str, Callable[[Document], object]] = {
    "schema version": setting("schema_version", to=2),
    "schema version as text": setting("schema_version", to="1"),
    "no members": lambda manifest: manifest.pop("members"),
    "no model": lambda manifest: manifest["members"].pop(MODEL),
    "no golden tolerance": lambda manifest: manifest.pop("golden_tolerance"),
    "architecture": setting("network", "arch", to="levit-128s"),
    "unknown architecture": setting("network", "arch", to="512"),
    "heads": setting("network", "heads", to=[4, 6, 9]),
    "classes": setting("network", "num_classes", to=0),
    "image size": setting("network", "image_size", to=48),
    "distillation": setting("network", "distillation", to=1),
    "unknown preprocessing": setting("preprocessing", "gamma", to=2),
    "interpolation": setting("preprocessing", "interpolation", to="bilinear"),
    "boolean size": setting("preprocessing", "image_size", to=True),
    "mean of bytes": setting("preprocessing", "mean", to=[123.7, 116.3, 103.5]),
    "std of zero": setting("preprocessing", "std", to=[0.5, 0, 0.5]),
    "shape": setting("input", "shape", to=[1, 3, 0, 32]),
    "no layout": lambda manifest: manifest["input"].pop("layout"),
    "outputs": setting("outputs", to={}),
    "batch": setting("batch_sizes", "minimum", to=2),
    "nothing verified": setting("batch_sizes", "verified", to=[]),
    "negative tolerance": setting("golden_tolerance", to=[-1]),
    "tolerance": setting("golden_tolerance", to=[True]),
    "infinite tolerance": setting("golden_tolerance", to=[float("inf")]),
    "NaN in a record": setting("graph", to={"x": float("nan")}),
    "versions": setting("versions", to={"onnx": 1}),
    "absolute name": lambda manifest: manifest["members"].update(
        {"/etc/passwd": {"size_bytes": 1, "sha256": "0" * 64}}
    ),
    "escaping name": lambda manifest: manifest["members"].update({"a/../../b": {"size_bytes": 1, "sha256": "0" * 64}}),
    "absurd size": setting("members", MODEL, "size_bytes", to=(4 << 30) + 1),
    "huge size": setting("members", MODEL, "size_bytes", to=10**30),
    "upper case hash": setting("members", MODEL, "sha256", to="A" * 64),
    "engine without files": with_engine(files=[]),
    "engine with another's file": with_engine(files=[MODEL]),
    "engine with no member": with_engine(files=["engines/y"]),
    "engine profile": with_engine(profile={"minimum": 2, "optimum": 1, "maximum": 3}),
    "engine seconds": with_engine(build_seconds=-1),
    "engine options": with_engine(options={"a": 1}),
    "two owners": lambda manifest: (with_engine()(manifest), manifest["engines"].update({"y": engine_entry()})),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_manifests_that_both_read(case: str, hooks: ReadingHooks, make_bundle: BundleFactory, tmp_path: Path) -> None:
    path = copy_of(make_bundle().path, tmp_path / "edited", edit_manifest=ACCEPTED[case])
    open_bundle(path)
    hooks.check_bundle(path, everything=False)


@pytest.mark.parametrize("case", REFUSED)
def test_manifests_that_both_refuse(case: str, hooks: ReadingHooks, make_bundle: BundleFactory, tmp_path: Path) -> None:
    path = copy_of(make_bundle().path, tmp_path / "edited", edit_manifest=REFUSED[case])
    with pytest.raises(BundleError):
        open_bundle(path)
    with pytest.raises(RefusedError) as caught:
        hooks.check_bundle(path, everything=False)
    assert caught.value.status == BundleError.exit_code
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"schema_version": 1}', b"[" * 100_000, b"\0" * 9], ids=repr
)
def test_texts_that_are_no_manifest(
    content: bytes, hooks: ReadingHooks, make_bundle: BundleFactory, tmp_path: Path
) -> None:
    path = make_bundle().path
    replace_file(path / MANIFEST, content)
    with pytest.raises(BundleError):
        open_bundle(path)
    with pytest.raises(RefusedError, match=r"manifest\.json"):
        hooks.check_bundle(path, everything=False)


def test_a_key_twice_is_refused_where_python_takes_the_last(hooks: ReadingHooks, make_bundle: BundleFactory) -> None:
    path = make_bundle().path
    text = (path / MANIFEST).read_text()
    replace_file(path / MANIFEST, text.replace("{", '{"schema_version": 1, ', 1).encode())
    open_bundle(path)
    with pytest.raises(RefusedError, match="'schema_version' twice"):
        hooks.check_bundle(path, everything=False)


def test_golden_set_and_names_are_equal(hooks: ReadingHooks, make_bundle: BundleFactory) -> None:
    logits = np.linspace(-3, 3, 10).reshape(2, 5)
    original = make_bundle()

    def edit(tensors: dict[str, Any]) -> None:
        tensors["logits"] = logits

    golden = edited_tensors(original.read(GOLDEN), edit)
    labels = "\ufeff  ça \r\n\u3000b\u2003c\u00a0\nd\ne\nf\n".encode()
    bundle = make_bundle("second", members={GOLDEN: golden, LABELS: labels})
    expected = bundle.golden()
    images, read = np.empty_like(expected.images), np.empty_like(expected.logits)
    hooks.golden(bundle.path, images, read)
    np.testing.assert_array_equal(images, expected.images)
    np.testing.assert_array_equal(read, logits)
    assert hooks.names(bundle.path) == [*bundle.labels(), *expected.names]


@pytest.mark.parametrize(
    "labels", [b"a\nb\nc\nd\n", b"a\nb\n\nd\ne\n", b"a\nb\nc\nd\n\xff\n", b"", b"a\nb\nc\nd\ne\n\n"]
)
def test_labels_that_both_refuse(
    labels: bytes, hooks: ReadingHooks, make_bundle: BundleFactory, tmp_path: Path
) -> None:
    path = copy_of(make_bundle().path, tmp_path / "edited", {LABELS: labels})
    with pytest.raises(BundleError):
        open_bundle(path).labels()
    with pytest.raises(RefusedError, match=r"labels\.txt"):
        hooks.check_bundle(path)


@pytest.mark.parametrize("name", [MODEL, GOLDEN, LABELS])
@pytest.mark.parametrize("damage", ["cut", "longer", "changed", "gone", "link"])
def test_damaged_members_are_refused(
    name: str, damage: str, hooks: ReadingHooks, make_bundle: BundleFactory, tmp_path: Path
) -> None:
    bundle = make_bundle()
    hooks.check_bundle(bundle.path)
    path = bundle.path / name
    content = path.read_bytes()
    if damage in ("gone", "link"):
        path.unlink()
    if damage == "link":
        outside = tmp_path / "outside"
        outside.write_bytes(content)
        path.symlink_to(outside)
    if damage in ("cut", "longer", "changed"):
        changed = {"cut": content[:-1], "longer": content + b"\0", "changed": content[:-1] + b"\x01"}[damage]
        replace_file(path, changed)
    with pytest.raises(BundleError):
        bundle.verify()
    with pytest.raises(RefusedError, match=name):
        hooks.check_bundle(bundle.path)


def test_golden_sets_truncated_at_every_length_are_refused(
    hooks: ReadingHooks, make_bundle: BundleFactory, tmp_path: Path
) -> None:
    original = make_bundle()
    content = original.read(GOLDEN)
    header = 8 + int.from_bytes(content[:8], "little")
    for size in [*range(header + 3), len(content) - 1]:
        copy = copy_of(original.path, tmp_path / f"cut {size}", {GOLDEN: content[:size]})
        with pytest.raises(BundleError):
            open_bundle(copy).golden()
        with pytest.raises(RefusedError, match=r"golden\.safetensors"):
            hooks.check_bundle(copy)

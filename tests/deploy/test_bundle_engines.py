"""Engines are added to a bundle whole or not at all, and a manifest's engines are checked like everything else."""

from __future__ import annotations

import copy
import json
import multiprocessing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fixtures_bundle import BundleFactory, tiny_manifest

from levit_deploy import bundle_engines
from levit_deploy.bundle import MANIFEST, MODEL, Bundle, open_bundle
from levit_deploy.bundle_engines import add_engine
from levit_deploy.engine_entry import EngineEntry, Profile
from levit_deploy.errors import BundleError, ConfigError
from levit_deploy.manifest import Manifest, Member

FILES = {"network.plan": b"a plan", "weights.bin": b"its weights"}


def entry_for(bundle: Bundle, **changes: Any) -> EngineEntry:
    fields: dict[str, Any] = {
        "files": tuple(FILES),
        "model_sha256": bundle.manifest.members[MODEL].sha256,
        "libraries": {"some-engine": "1.2.3"},
        "requirements": {"compute_capabilities": "8.6, 8.9"},
        "profile": Profile(minimum=1, optimum=2, maximum=4),
        "options": {"workspace": "64 MiB"},
        "network": {"layers": {"Conv": 4}},
        "machine": {"cpu": "a CPU"},
        "build_seconds": 1.5,
        "verified": "12 golden images",
    }
    return EngineEntry(**{**fields, **changes})


def everything_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_added_engine_is_read_again_and_all_its_files_are_members(make_bundle: BundleFactory) -> None:
    bundle = make_bundle()
    after = add_engine(bundle, "some-engine", entry_for(bundle), FILES)
    after.verify()
    found = open_bundle(bundle.path).manifest.engines["some-engine"]
    assert [after.read(file) for file in found.files] == list(FILES.values())
    assert replace(found, files=tuple(FILES)) == entry_for(bundle)
    assert set(after.manifest.members) == {*bundle.manifest.members, *found.files}
    assert set(everything_in(bundle.path)) == {MANIFEST, *after.manifest.members}


def test_an_engine_is_replaced_only_with_overwrite_and_its_old_files_go(make_bundle: BundleFactory) -> None:
    bundle = make_bundle()
    first = add_engine(bundle, "some-engine", entry_for(bundle), FILES)
    with pytest.raises(ConfigError, match="--overwrite"):
        add_engine(first, "some-engine", entry_for(bundle), FILES)
    with pytest.raises(ConfigError, match="--overwrite"):  # it came after the bundle was opened
        add_engine(bundle, "some-engine", entry_for(bundle), FILES)
    second = add_engine(first, "some-engine", entry_for(bundle), {"network.plan": b"another"}, overwrite=True)
    second.verify()
    (file,) = second.manifest.engines["some-engine"].files
    assert second.read(file) == b"another"
    assert set(everything_in(bundle.path)) == {MANIFEST, *second.manifest.members}


def test_building_the_same_again_keeps_the_bundle_readable(make_bundle: BundleFactory) -> None:
    bundle = make_bundle()
    first = add_engine(bundle, "some-engine", entry_for(bundle), FILES)
    again = add_engine(first, "some-engine", entry_for(bundle), FILES, overwrite=True)
    again.verify()
    assert again.manifest == first.manifest


@pytest.mark.parametrize("step", ["_write_folder", "_replace_file"])
def test_what_fails_half_way_leaves_a_true_manifest(
    step: str, make_bundle: BundleFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = make_bundle()
    before = add_engine(bundle, "some-engine", entry_for(bundle), FILES)

    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(bundle_engines, step, fail)
    with pytest.raises(OSError, match="no space"):
        add_engine(before, "some-engine", entry_for(bundle), {"network.plan": b"another"}, overwrite=True)
    left = open_bundle(bundle.path)
    left.verify()
    assert left.manifest == before.manifest
    assert not [name for name in everything_in(bundle.path) if "partial" in name]


def test_the_same_engine_again_never_leaves_its_folder_empty(
    make_bundle: BundleFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = make_bundle()
    first = add_engine(bundle, "some-engine", entry_for(bundle), FILES)
    monkeypatch.setattr(bundle_engines, "_write_folder", lambda *_: pytest.fail("was written again"))
    again = add_engine(first, "some-engine", entry_for(bundle, verified="later"), FILES, overwrite=True)
    again.verify()
    assert again.manifest.engines["some-engine"].verified == "later"


@pytest.mark.parametrize("damage", [b"", b"another plan", None], ids=["empty", "altered", "missing"])
def test_a_damaged_engine_is_mended_by_the_same_build(damage: bytes | None, make_bundle: BundleFactory) -> None:
    bundle = make_bundle()
    first = add_engine(bundle, "some-engine", entry_for(bundle), FILES)
    file = bundle.path / first.manifest.engines["some-engine"].files[0]
    if damage is None:
        file.unlink()
    else:
        file.write_bytes(damage)
    with pytest.raises(BundleError):
        first.verify()
    add_engine(first, "some-engine", entry_for(bundle), FILES, overwrite=True).verify()


def test_an_engine_of_a_replaced_model_is_not_added(make_bundle: BundleFactory) -> None:
    bundle = make_bundle()
    with pytest.raises(BundleError, match="was replaced while"):
        add_engine(bundle, "some-engine", entry_for(bundle, model_sha256="0" * 64), FILES)
    assert not open_bundle(bundle.path).manifest.engines


def _add(path: Path, name: str) -> None:
    bundle = open_bundle(path)
    add_engine(bundle, name, entry_for(bundle), FILES)


def test_engines_that_are_added_at_once_are_all_there(make_bundle: BundleFactory) -> None:
    bundle, names = make_bundle(), [f"engine-{number}" for number in range(6)]
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_add, args=(bundle.path, name)) for name in names]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    after = open_bundle(bundle.path)
    after.verify()
    assert sorted(after.manifest.engines) == names


DOCUMENT = tiny_manifest(
    members={
        "model.onnx": Member(size_bytes=3, sha256="ab" * 32),
        "engines/a/plan": Member(size_bytes=1, sha256="c" * 64),
    },
).to_json()
ENGINE = {
    "files": ["engines/a/plan"],
    "model_sha256": "ab" * 32,
    "libraries": {"a": "1"},
    "requirements": {},
    "profile": {"minimum": 1, "optimum": 1, "maximum": 1},
    "options": {},
    "network": {},
    "machine": {},
    "build_seconds": 1.0,
    "verified": "",
}


def with_engine(**changes: object) -> dict[str, Any]:
    document = copy.deepcopy(DOCUMENT)
    document["engines"] = {"a": {**ENGINE, **changes}}
    return document


def test_an_engine_survives_json() -> None:
    document = with_engine()
    assert Manifest.from_json(json.loads(json.dumps(document))).to_json() == document


@pytest.mark.parametrize("field", sorted(ENGINE))
@pytest.mark.parametrize("value", [None, 3.5j, [], [1]], ids=["null", "complex", "empty list", "numbers"])
def test_every_field_of_an_engine_is_there_and_of_its_type(field: str, value: object) -> None:
    with pytest.raises(BundleError, match=field):
        Manifest.from_json(with_engine(**{field: value}))
    document = with_engine()
    del document["engines"]["a"][field]
    with pytest.raises(BundleError, match=f"{field}.* is missing"):
        Manifest.from_json(document)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"files": ["engines/a/other"]}, "not a member"),
        ({"files": ["../outside"]}, "not a member"),
        ({"files": ["model.onnx"]}, "not below engines/"),
        ({"profile": {"minimum": 2, "optimum": 1, "maximum": 4}}, "minimum <= optimum"),
        ({"profile": {"minimum": 1, "optimum": 1}}, "must hold minimum, optimum, maximum"),
        ({"profile": {"minimum": True, "optimum": 1, "maximum": 1}}, "whole numbers"),
        ({"build_seconds": -1.0}, "build_seconds"),
        ({"build_seconds": float("nan")}, "build_seconds"),
        ({"libraries": {"a": 1}}, "libraries"),
    ],
)
def test_values_out_of_range_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        Manifest.from_json(with_engine(**changes))


def test_a_file_belongs_to_one_engine() -> None:
    document = with_engine()
    document["engines"]["b"] = document["engines"]["a"]
    with pytest.raises(BundleError, match="engines 'a' and 'b' both name engines/a/plan"):
        Manifest.from_json(document)


@pytest.mark.parametrize("engines", [{"a": 1}, {"a": []}, []])
def test_engines_that_are_no_objects_are_refused(engines: object) -> None:
    with pytest.raises(BundleError, match="engine"):
        Manifest.from_json({**DOCUMENT, "engines": engines})

"""Bundles that are not what they should be: each ends with exit code 3 and one line, as levit-classify's."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fixtures_bundle import BundleFactory

from levit_deploy.bundle import GOLDEN, LABELS, MANIFEST, MODEL
from levit_engines.cli import classify

Damage = Callable[[Path], object]
Document = dict[str, Any]


def edited(edit: Callable[[Document], object]) -> Damage:
    def damage(bundle: Path) -> None:
        file = bundle / MANIFEST
        document = json.loads(file.read_text())
        edit(document)
        file.write_text(json.dumps(document))

    return damage


def cut(name: str, share: float) -> Damage:
    def damage(bundle: Path) -> None:
        content = (bundle / name).read_bytes()
        (bundle / name).write_bytes(content[: int(share * len(content))])

    return damage


def flipped(name: str) -> Damage:
    def damage(bundle: Path) -> None:
        content = bytearray((bundle / name).read_bytes())
        content[len(content) // 2] ^= 1
        (bundle / name).write_bytes(content)

    return damage


def linked(name: str) -> Damage:
    def damage(bundle: Path) -> None:
        outside = bundle.parent / "outside"
        (bundle / name).rename(outside)
        (bundle / name).symlink_to(outside)

    return damage


def cyclic(name: str) -> Damage:
    def damage(bundle: Path) -> None:
        (bundle / name).unlink()
        (bundle / name).symlink_to(name)

    return damage


def pipe(name: str) -> Damage:
    def damage(bundle: Path) -> None:
        (bundle / name).unlink()
        os.mkfifo(bundle / name)

    return damage


def huge(document: Document) -> None:
    document["members"][MODEL]["size_bytes"] = 2**60


def escaping(document: Document) -> None:
    document["members"]["../outside"] = document["members"][MODEL]


def other_input(document: Document) -> None:
    document["input"]["name"] = "pixels"


def other_labels(document: Document) -> None:
    document["network"]["num_classes"] = 6


def changed(part: str, **fields: object) -> Damage:
    def edit(document: Document) -> None:
        (document[part][0] if isinstance(document[part], list) else document[part]).update(fields)

    return edited(edit)


MEMBERS = (MODEL, LABELS, GOLDEN)
# Buffers are made from one part of the manifest, and the graph reads as much as another part says.
CONTRADICTIONS = {
    "input float64": changed("input", dtype="float64"),
    "input uint8 NCHW": changed("input", dtype="uint8"),
    "input of another side": changed("input", shape=[1, 3, 4096, 4096]),
    "input of a free side": changed("input", shape=[1, 3, "height", "width"]),
    "input of no dimension": changed("input", shape=[]),
    "batch sizes beside a static batch": changed("batch_sizes", minimum=1, maximum=8),
    "a smallest batch of a billion": changed("batch_sizes", minimum=2**30, maximum=2**30, verified=[2**30]),
    "no output": edited(lambda document: document.update(outputs=[])),
    "no logits": changed("outputs", name="scores"),
    "half logits": changed("outputs", dtype="float16"),
    "logits of other classes": changed("outputs", shape=[1, 7]),
    "logits of another batch": changed("outputs", shape=["batch", 5]),
}
DAMAGES: dict[str, Damage] = {
    "no manifest": lambda bundle: (bundle / MANIFEST).unlink(),
    **{f"manifest cut at {share}": cut(MANIFEST, share) for share in (0, 0.25, 0.5, 0.75, 0.99)},
    **{f"{name} cut at {share}": cut(name, share) for name in MEMBERS for share in (0, 0.5, 0.99)},
    **{f"{name} altered": flipped(name) for name in MEMBERS},
    **{f"{name} missing": (lambda bundle, name=name: (bundle / name).unlink()) for name in MEMBERS},
    **{f"{name} a link": linked(name) for name in MEMBERS},
    **{f"{name} a link to itself": cyclic(name) for name in MEMBERS},
    **{f"{name} a pipe": pipe(name) for name in MEMBERS},
    "manifest a link to itself": cyclic(MANIFEST),
    "schema version 2": edited(lambda document: document.update(schema_version=2)),
    "a size of 2**60": edited(huge),
    "a path that leaves the folder": edited(escaping),
    "no model among the members": edited(lambda document: document["members"].pop(MODEL)),
    "another input": edited(other_input),
    "another number of classes": edited(other_labels),
    **CONTRADICTIONS,
}
# Python reads the golden images only where an engine is built or verified.
UNREAD_BY_PYTHON = f"{GOLDEN} "


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_bundle_is_refused_in_one_line(
    kind: str,
    runtime: Any,
    make_bundle: BundleFactory,
    images: list[Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    bundle = make_bundle().path
    DAMAGES[kind](bundle)
    shown = runtime.run(bundle, images[0], timeout=20)
    assert (shown.returncode, shown.stdout) == (3, "")
    assert shown.stderr.startswith("levit-run: error: ")
    assert shown.stderr.count("\n") == 1
    assert str(bundle) in shown.stderr
    if not kind.startswith(UNREAD_BY_PYTHON):
        assert classify.main([str(bundle), str(images[0])]) == 3
        assert capsys.readouterr().err.count("\n") == 1


def test_a_folder_that_is_no_bundle_is_named(runtime: Any, tmp_path: Path, images: list[Path]) -> None:
    for name, said in ((tmp_path / "none", "is not a folder"), (tmp_path, f"has no {MANIFEST}")):
        shown = runtime.run(name, images[0])
        assert shown.returncode == 3
        assert shown.stderr == f"levit-run: error: {name}: not a bundle ({said}); levit-export writes one\n"


def test_a_bundle_may_be_named_by_a_link(
    runtime: Any, small_bundle: Path, photographs: list[Path], tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(small_bundle)
    assert runtime.run(link, photographs[0]).returncode == 0


def test_a_bundle_may_be_named_from_within(runtime: Any, small_bundle: Path, photographs: list[Path]) -> None:
    assert runtime.run(".", photographs[0], cwd=small_bundle).returncode == 0


def test_a_moved_bundle_is_the_same(runtime: Any, small_bundle: Path, photographs: list[Path], tmp_path: Path) -> None:
    shutil.copytree(small_bundle, tmp_path / "moved")
    assert runtime.run(tmp_path / "moved", photographs[0]).returncode == 0

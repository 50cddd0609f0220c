"""Reading a bundle: nothing that does not have the size and the hash that the manifest promises."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fixtures_bundle import BundleFactory
from numpy.typing import NDArray

from levit_deploy.bundle import GOLDEN, LABELS, MODEL, PARITY, Golden
from levit_deploy.errors import BundleError
from levit_deploy.manifest import Member

MEMBERS = (MODEL, LABELS, GOLDEN, PARITY)


@pytest.mark.parametrize("where", [0, 0.5, -1], ids=["first byte", "middle", "last byte"])
@pytest.mark.parametrize("name", MEMBERS)
def test_one_altered_byte_is_found_and_named(name: str, where: float, make_bundle: BundleFactory) -> None:
    bundle = make_bundle()
    content = bytearray((bundle.path / name).read_bytes())
    content[int(where * len(content)) if where == 0.5 else int(where)] ^= 1
    (bundle.path / name).write_bytes(content)
    with pytest.raises(BundleError, match=name):
        bundle.read(name)
    with pytest.raises(BundleError, match=name):
        bundle.verify()


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize("change", ["longer", "shorter", "absent", "folder", "link out", "link inside"])
def test_members_of_another_size_or_kind_are_refused(name: str, change: str, make_bundle: BundleFactory) -> None:
    bundle = make_bundle()
    path = bundle.path / name
    content = path.read_bytes()
    path.unlink()
    elsewhere = {"link out": bundle.path.parent / "elsewhere", "link inside": bundle.path / "other"}
    if change in elsewhere:
        elsewhere[change].write_bytes(content)  # the right bytes, but not this bundle's plain file
        path.symlink_to(elsewhere[change])
    elif change == "folder":
        path.mkdir()
    elif change != "absent":
        path.write_bytes(content + b"\n" if change == "longer" else content[:-1])
    with pytest.raises(BundleError, match=name):
        bundle.read(name)


def test_a_member_that_the_manifest_does_not_list_is_not_read(make_bundle: BundleFactory) -> None:
    bundle = make_bundle()
    (bundle.path / "extra.plan").write_bytes(b"executable code")
    with pytest.raises(BundleError, match=r"lists no extra\.plan"):
        bundle.read("extra.plan")


def test_a_promised_size_of_gigabytes_reserves_none(make_bundle: BundleFactory) -> None:
    bundle = make_bundle()
    members = dict(bundle.manifest.members)
    members[MODEL] = Member(size_bytes=4 << 30, sha256="0" * 64)
    vast = replace(bundle, manifest=replace(bundle.manifest, members=members))
    tracemalloc.start()
    with pytest.raises(BundleError, match="altered"):
        vast.read(MODEL)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_as_many_labels_as_classes(make_bundle: BundleFactory) -> None:
    with pytest.raises(BundleError, match=r"labels\.txt: 2 names for 5 classes"):
        make_bundle(members={LABELS: b"a\nb\n"}).labels()


PIXELS, LOGITS = np.zeros((2, 32, 32, 3), np.uint8), np.zeros((2, 5))


def golden(names: tuple[str, ...], images: NDArray[Any], logits: NDArray[Any]) -> bytes:
    """A golden set, whatever its shapes and types."""
    return Golden(names=names, images=images, logits=logits).to_bytes()


BAD_GOLDEN = {
    "junk": b"junk",
    "empty": b"",
    "float pixels": golden(("a", "b"), PIXELS.astype(np.float32), LOGITS),
    "float32 logits": golden(("a", "b"), PIXELS, LOGITS.astype(np.float32)),
    "one name": golden(("a",), PIXELS, LOGITS),
    "six classes": golden(("a", "b"), PIXELS, np.zeros((2, 6))),
    "three images": golden(("a", "b"), np.zeros((3, 32, 32, 3), np.uint8), LOGITS),
}


@pytest.mark.parametrize("content", BAD_GOLDEN.values(), ids=BAD_GOLDEN.keys())
def test_a_golden_set_of_another_kind_is_refused(content: bytes, make_bundle: BundleFactory) -> None:
    with pytest.raises(BundleError, match=r"golden\.safetensors"):
        make_bundle(members={GOLDEN: content}).golden()

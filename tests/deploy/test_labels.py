"""Class names: whose they are, how many, and that none occurs twice."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from scripts import load_script

from levit_deploy.bundle import parse_labels
from levit_deploy.errors import InputError
from levit_deploy.labels import labels_for

ROOT = Path(__file__).parents[2]


def test_imagenet_names_are_the_thousand_in_sorted_synset_order() -> None:
    labels, provenance = labels_for(1000, None)
    assert len(set(labels)) == len(labels) == 1000
    assert provenance == "ImageNet-1k, sorted synsets"
    known = {0: "tench", 134: "crane (bird)", 281: "tabby", 517: "crane (machine)", 999: "toilet tissue"}
    assert {index: labels[index] for index in known} == known


def test_imagenet_names_are_what_the_script_writes() -> None:
    if importlib.util.find_spec("timm") is None:
        pytest.skip("needs timm, whose tables the names come from")
    script = load_script("make_imagenet_labels")
    assert tuple(script.imagenet_labels()) == labels_for(1000, None)[0]
    kept = (ROOT / "levit_deploy" / "data" / "imagenet1k_synsets.txt").read_text(encoding="ascii")
    assert kept.split() == script.imagenet_synsets()


def test_other_class_counts_are_numbered() -> None:
    assert labels_for(3, None) == (("class 0", "class 1", "class 2"), "numbered")


@pytest.mark.parametrize(
    "content",
    [b"cat\ndog\n", b"cat\ndog", b"cat\r\ndog\r\n", b"\xef\xbb\xbfcat\ndog\n"],
    ids=["plain", "no last newline", "windows", "byte order mark"],
)
def test_names_from_a_file(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_bytes(content)
    assert labels_for(2, file) == (("cat", "dog"), "file mine.txt")


def test_only_newlines_end_a_name() -> None:
    names = ("a\u2028b", "c\x0bd", "e\x85f")
    assert parse_labels("\n".join(names).encode(), Path("labels.txt")) == names


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cat\ndog\nfox\n", "3 names for 2 classes"),
        (b"cat\n\ndog\n", "empty line 2"),
        (b"", "empty line 1"),
        (b"c\xe4t\ndog\n", "not UTF-8"),
        (None, "cannot be read"),
    ],
    ids=["too many", "empty line", "empty file", "latin-1", "missing"],
)
def test_bad_files_are_named(content: bytes | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=f"mine\\.txt: {message}") as caught:
        labels_for(2, file)
    assert caught.value.exit_code == 3

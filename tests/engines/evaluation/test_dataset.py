"""Which image is of which class: found by rules that are said, never guessed."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from levit_deploy.errors import InputError
from levit_deploy.labels import imagenet_labels
from levit_engines.evaluation.dataset import imagenet_synsets, read_dataset

LABELS = ("cat", "dog", "fox")


def tree(folder: Path, *files: str) -> Path:
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path)
    return folder


@pytest.mark.parametrize(
    ("files", "how", "labels"),
    [
        (("fox/1.png", "cat/2.png"), "names of the bundle's labels", [0, 2]),
        (("2/1.png", "0/2.jpg"), "indices", [0, 2]),
        (("a/1.png", "b/1.png", "c/deep/er/1.png"), "folders in alphabetical order", [0, 1, 2]),
    ],
)
def test_folders_are_classes(tmp_path: Path, files: tuple[str, ...], how: str, labels: list[int]) -> None:
    dataset = read_dataset(tree(tmp_path / "data", *files), LABELS)
    assert (dataset.classes, [sample.label for sample in dataset.samples]) == (how, labels)
    assert [sample.name for sample in dataset.samples] == sorted(files)


def test_synsets_are_those_of_imagenet_even_where_some_are_missing(tmp_path: Path) -> None:
    dataset = read_dataset(tree(tmp_path / "val", "n01751748/x.JPEG", "n01440764/y.JPEG"), imagenet_labels())
    assert [sample.label for sample in dataset.samples] == [0, 65]
    assert imagenet_labels()[65] == "sea snake"
    assert len(set(imagenet_synsets())) == 1000
    assert list(imagenet_synsets()) == sorted(imagenet_synsets())


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("cat/1.png", "wolf/1.png"), "wolf: is not the folder of a class"),
        (("n01440764/1.png", "n01751748/1.png", "n01443537/1.png"), "n01440764: is not the folder of a class"),
        (("0/1.png", "3/1.png"), "3: is not the folder of a class"),
        (("picture.png",), "give --ground-truth FILE"),
    ],
)
def test_what_cannot_be_known_is_refused(tmp_path: Path, files: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_dataset(tree(tmp_path / "data", *files), LABELS)


def test_folders_without_images_and_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "data" / "cat").mkdir(parents=True)
    (tmp_path / "data" / "cat" / "notes.txt").write_text("no image")
    with pytest.raises(InputError, match="1 folders hold no image"):
        read_dataset(tmp_path / "data", LABELS)
    with pytest.raises(InputError, match="is neither a folder"):
        read_dataset(tmp_path / "data" / "cat" / "notes.txt", LABELS)


@pytest.mark.parametrize("separator", [" ", "\t", ",", ", "])
def test_ground_truth_gives_each_image_its_class(tmp_path: Path, separator: str) -> None:
    folder, file = tree(tmp_path / "data", "b.png", "a c.png"), tmp_path / "truth.txt"
    file.write_text(f"b.png{separator}dog\n\na c.png{separator}fox\n", encoding="utf-8")
    dataset = read_dataset(folder, LABELS, ground_truth=file)
    assert [(sample.name, sample.label) for sample in dataset.samples] == [("a c.png", 2), ("b.png", 1)]
    assert dataset.classes == "from truth.txt"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no image"),
        ("b.png wolf\n", "wolf is no class of the network"),
        ("b.png 3\n", "3 is no class .* development kit"),
        ("490\n", "line 1: needed is the path of an image and its class"),
        ("b.png cat\nb.png dog\n", "line 2: b.png is there twice"),
        ("absent.png cat\n", "line 1: there is no absent.png"),
        ("../outside.png cat\n", "line 1: ../outside.png is outside of"),
        ("\xff\n", "cannot be read as text"),
    ],
)
def test_ground_truth_that_says_nothing_is_refused(tmp_path: Path, text: str, message: str) -> None:
    folder, file = tree(tmp_path / "data", "b.png"), tmp_path / "truth.txt"
    tree(tmp_path, "outside.png")
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=message):
        read_dataset(folder, LABELS, ground_truth=file)


def test_the_fingerprint_follows_names_sizes_and_labels(tmp_path: Path) -> None:
    folder = tree(tmp_path / "data", "cat/1.png", "dog/1.png")
    first = read_dataset(folder, LABELS).fingerprint()
    assert read_dataset(folder, LABELS).fingerprint() == first
    assert read_dataset(folder, ("dog", "cat", "fox")).fingerprint() != first
    Image.new("RGB", (40, 40), "red").save(folder / "cat" / "1.png")
    assert read_dataset(folder, LABELS).fingerprint() != first

"""Labelled images on disk: which file is of which class, and nothing assumed where it cannot be known."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path

from levit_deploy.architectures import IMAGENET_CLASSES
from levit_deploy.decoding import IMAGE_SUFFIXES, printable
from levit_deploy.errors import EnvironmentIncompleteError, InputError
from levit_engines.evaluation.samples import Dataset, Sample
from levit_engines.evaluation.shards import entries_of, shards_in

_SYNSET = re.compile(r"n\d{8}")
MAX_GROUND_TRUTH_BYTES = 64 << 20


def read_dataset(data: Path, labels: Sequence[str], *, ground_truth: Path | None = None) -> Dataset:
    """The images in `data`, whose classes are those that `labels` names.

    `data` is a folder with a folder for each class; or, with `ground_truth`, a folder and a text file with a line for
    each image: its path, and its class; or one or a folder of shards, tar or parquet files, which hold both. A class is
    a name of `labels`, a synset of ImageNet-1k (where there are 1000 labels) or an index.

    Raises:
        EnvironmentIncompleteError: a package that the files need is not installed.
        InputError: there is no image, or a class is none that the network knows.
    """
    if ground_truth is not None:
        if not data.is_dir():
            raise InputError(f"{data}: is not a folder of images, whose classes --ground-truth could tell")
        samples = tuple(_from_ground_truth(data, ground_truth, labels))
        return Dataset(samples=samples, classes=f"from {ground_truth.name}")
    if not data.exists():
        raise InputError(f"{data}: does not exist")
    shards = shards_in(data)
    if shards:
        return _from_shards(shards, labels)
    if not data.is_dir():
        raise InputError(f"{data}: is neither a folder of labelled images nor a .tar or .parquet file of them")
    return _from_folders(data, labels)


def _from_shards(shards: Sequence[Path], labels: Sequence[str]) -> Dataset:
    entries = [entry for shard in shards for entry in entries_of(shard)]
    if not entries:
        raise InputError(f"{shards[0]}: holds no image")
    classes, how = _classes_of_truth([entry.class_text for entry in entries], labels, shards[0])
    samples = tuple(
        Sample(name=entry.name, source=entry.source, label=label) for entry, label in zip(entries, classes, strict=True)
    )
    return Dataset(samples=samples, classes=how)


def _from_folders(folder: Path, labels: Sequence[str]) -> Dataset:
    folders = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not folders:
        raise InputError(
            f"{folder}: has no folder for each class; for images that lie side by side give --ground-truth FILE"
        )
    classes, how = _classes_of([path.name for path in folders], labels, folder)
    samples = tuple(
        Sample(name=file.relative_to(folder).as_posix(), source=file, label=classes[path.name])
        for path in folders
        for file in sorted(path.rglob("*"))
        if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()
    )
    if not samples:
        raise InputError(f"{folder}: its {len(folders)} folders hold no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return Dataset(samples=samples, classes=how)


def imagenet_synsets() -> tuple[str, ...]:
    """The synsets of ImageNet-1k in the order of all checkpoints."""
    file = resources.files("levit_deploy") / "data" / "imagenet1k_synsets.txt"
    try:
        return tuple(file.read_text(encoding="ascii").split())
    except OSError as error:
        raise EnvironmentIncompleteError(f"{file} is missing: install levit-deploy again") from error


def _classes_of(names: Sequence[str], labels: Sequence[str], folder: Path) -> tuple[Mapping[str, int], str]:
    """The index of each name, and how it was found; a rule counts only if it knows every name."""
    for how, known in _rules(labels):
        if all(name in known for name in names):
            return {name: known[name] for name in names}, how
    if len(names) == len(labels) and not any(map(_SYNSET.fullmatch, names)):
        return {name: index for index, name in enumerate(names)}, "folders in alphabetical order"
    unknown = next((name for name in names if not any(name in known for _, known in _rules(labels))), names[0])
    raise InputError(
        f"{folder / unknown}: is not the folder of a class that the network knows; call folders as labels.txt of the "
        f"bundle does, by index, or by synset (1000 classes), or have one for each of the {len(labels)} classes"
    )


def _rules(labels: Sequence[str]) -> Iterator[tuple[str, Mapping[str, int]]]:
    if len(labels) == IMAGENET_CLASSES:
        yield "synsets of ImageNet-1k", {name: index for index, name in enumerate(imagenet_synsets())}
    if len(set(labels)) == len(labels):
        yield "names of the bundle's labels", {name: index for index, name in enumerate(labels)}
    yield "indices", {str(index): index for index in range(len(labels))}


def _from_ground_truth(folder: Path, file: Path, labels: Sequence[str]) -> Iterator[Sample]:
    entries = sorted(_lines_of(file))
    if not entries:
        raise InputError(f"{file}: names no image")
    classes, _ = _classes_of_truth([name for _, name, _ in entries], labels, file)
    root = folder.resolve()
    for (path, _, number), label in zip(entries, classes, strict=True):
        target = folder / path
        if not target.resolve().is_relative_to(root):
            raise InputError(f"{file}, line {number}: {printable(path)} is outside of {folder}")
        if not target.is_file():
            raise InputError(f"{file}, line {number}: there is no {printable(path)} in {folder}")
        yield Sample(name=path, source=target, label=label)


def _classes_of_truth(names: Sequence[str], labels: Sequence[str], file: Path) -> tuple[list[int], str]:
    for how, known in _rules(labels):
        if all(name in known for name in names):
            return [known[name] for name in names], how
    unknown = next((name for name in names if not any(name in known for _, known in _rules(labels))), names[0])
    raise InputError(
        f"{file}: {printable(unknown)} is no class of the network; classes are names of its labels.txt, indices from 0 "
        f"to {len(labels) - 1}, or synsets. Numbers of ImageNet's development kit (1 to 1000) are in another order"
    )


def _lines_of(file: Path) -> Iterator[tuple[str, str, int]]:
    """Path, class and number of each line: tab, comma or the last space between the two."""
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_GROUND_TRUTH_BYTES + 1)
        text = content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read as text ({error})") from error
    if len(content) > MAX_GROUND_TRUTH_BYTES:
        raise InputError(f"{file}: larger than {MAX_GROUND_TRUTH_BYTES >> 20} MiB")
    seen: set[str] = set()
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        separator = next((mark for mark in ("\t", ",") if mark in line), " ")
        path, _, name = line.strip().rpartition(separator)
        path, name = path.strip(), name.strip()
        if not path or not name:
            raise InputError(
                f"{file}, line {number}: needed is the path of an image and its class, as in "
                "'ILSVRC2012_val_00000001.JPEG n01751748'"
            )
        if path in seen:
            raise InputError(f"{file}, line {number}: {printable(path)} is there twice")
        seen.add(path)
        yield path, name, number

"""Class names: the user's own, ImageNet-1k's, or numbers; always with a word on where they come from."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from levit_deploy.architectures import IMAGENET_CLASSES
from levit_deploy.bundle import parse_labels
from levit_deploy.errors import EnvironmentIncompleteError, InputError

IMAGENET_PROVENANCE = "ImageNet-1k, sorted synsets"
NUMBERED_PROVENANCE = "numbered"


def labels_for(num_classes: int, labels_file: Path | None) -> tuple[tuple[str, ...], str]:
    """`num_classes` class names by index, and their provenance.

    The names in `labels_file`, one a line; without it ImageNet-1k's for 1000 classes, else "class 0" and on.

    Raises:
        InputError: `labels_file` cannot be read, is not text, or holds another number of names.
    """
    if labels_file is not None:
        return _from_file(labels_file, num_classes), f"file {labels_file.name}"
    if num_classes == IMAGENET_CLASSES:
        return imagenet_labels(), IMAGENET_PROVENANCE
    return tuple(f"class {index}" for index in range(num_classes)), NUMBERED_PROVENANCE


def imagenet_labels() -> tuple[str, ...]:
    """The 1000 distinct names that tools/make_imagenet_labels.py wrote, in the order of all checkpoints."""
    file = resources.files("levit_deploy") / "data" / "imagenet1k_labels.txt"
    try:
        return parse_labels(file.read_bytes(), Path(str(file)))
    except OSError as error:
        raise EnvironmentIncompleteError(f"{file} is missing: install levit-deploy again") from error


def _from_file(path: Path, num_classes: int) -> tuple[str, ...]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    labels = parse_labels(content, path)
    if len(labels) != num_classes:
        raise InputError(f"{path}: {len(labels)} names for {num_classes} classes; give one line for each class")
    return labels

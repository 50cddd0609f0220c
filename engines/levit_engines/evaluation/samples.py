"""Labelled images, wherever their bytes lie."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class StoredImage(Protocol):
    """An encoded image within a larger file; safe to read from several threads."""

    def read(self) -> bytes:
        """What a file of its own would hold. Raises ImageError."""

    def identity(self) -> str:
        """What changes when the image is another one, as far as that is known without reading it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One image; `name` is its path below the data set's folder, with slashes, and unique."""

    name: str
    source: Path | StoredImage
    label: int

    def identity(self) -> str:
        """The size of a file; see `StoredImage.identity`."""
        return str(self.source.stat().st_size) if isinstance(self.source, Path) else self.source.identity()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Samples in the order of their names; `classes` says how labels were found."""

    samples: tuple[Sample, ...]
    classes: str

    def fingerprint(self) -> str:
        """The sha256 of names, sizes and labels: what an interrupted run must find again."""
        digest = hashlib.sha256()
        for sample in self.samples:
            digest.update(f"{sample.name}\0{sample.identity()}\0{sample.label}\n".encode(errors="replace"))
        return digest.hexdigest()

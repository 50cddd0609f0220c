"""Data sets in a few large files: tar files as WebDataset writes them, parquet files as Hugging Face does."""

from __future__ import annotations

import tarfile
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from levit_deploy.commandline import require_packages
from levit_deploy.decoding import IMAGE_SUFFIXES, printable
from levit_deploy.errors import ImageError, InputError
from levit_engines.evaluation.samples import StoredImage

if TYPE_CHECKING:
    import pyarrow.parquet

TAR, PARQUET = ".tar", ".parquet"
CLASS_SUFFIX = ".cls"
IMAGE_COLUMNS, CLASS_COLUMNS = ("image", "jpg", "jpeg", "png", "webp"), ("label", "cls", "class")
MAX_IMAGE_BYTES, MAX_CLASS_BYTES = 256 << 20, 4096
# Rows are stored in groups, which are read as a whole: threads that decode are in one or two of them at a time.
GROUPS_KEPT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One image of a shard: `name` is unique in the data set, `class_text` what the shard calls its class."""

    name: str
    class_text: str
    source: StoredImage


def shards_in(path: Path) -> tuple[Path, ...]:
    """`path` itself, or those in that folder, in order of their names; empty where there are none."""
    if path.is_file():
        return (path,) if path.suffix.lower() in (TAR, PARQUET) else ()
    return tuple(sorted(file for file in path.iterdir() if file.suffix.lower() in (TAR, PARQUET) and file.is_file()))


def entries_of(shard: Path) -> Iterator[Entry]:
    """The images of one shard, in its order.

    Raises:
        EnvironmentIncompleteError: pyarrow, which parquet files need, is not installed.
        InputError: it is no such file, or an image has no class.
    """
    return _tar_entries(shard) if shard.suffix.lower() == TAR else _parquet_entries(shard)


@dataclass(frozen=True, slots=True)
class TarMember:
    """An image within a tar file, which is not compressed."""

    archive: Path
    offset: int
    size: int

    def read(self) -> bytes:
        """Its bytes."""
        if self.size > MAX_IMAGE_BYTES:
            raise ImageError(f"{self.size} bytes are more than the {MAX_IMAGE_BYTES >> 20} MiB of the largest image")
        with self.archive.open("rb") as stream:
            stream.seek(self.offset)
            content = stream.read(self.size)
        if len(content) < self.size:
            raise ImageError(f"{self.archive.name} ends within it")
        return content

    def identity(self) -> str:
        """Its size in bytes."""
        return str(self.size)


def _tar_entries(shard: Path) -> Iterator[Entry]:
    """Members whose names are equal up to the first dot belong together: the image, and its class in a .cls."""
    images: dict[str, TarMember] = {}
    classes: dict[str, str] = {}
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                if not member.isreg():
                    continue
                key, suffix = _key_of(member.name)
                if suffix in IMAGE_SUFFIXES:
                    if key in images:
                        raise InputError(f"{shard}: has two images {printable(key)}")
                    images[key] = TarMember(shard, member.offset_data, member.size)
                elif suffix == CLASS_SUFFIX:
                    content = archive.extractfile(member)
                    assert content is not None  # as it is a regular file
                    classes[key] = content.read(MAX_CLASS_BYTES).decode("utf-8").strip()
    except (tarfile.TarError, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{shard}: cannot be read as a tar file that is not compressed ({error})") from error
    for key, image in images.items():
        if key not in classes:
            raise InputError(f"{shard}: {printable(key)} has an image and no {CLASS_SUFFIX} with its class")
        yield Entry(name=f"{shard.name}/{key}", class_text=classes[key], source=image)


def _key_of(name: str) -> tuple[str, str]:
    """What members of one sample have in common, and the rest: ("train/0001", ".jpg")."""
    path = PurePosixPath(name)
    stem, dot, rest = path.name.partition(".")
    return str(path.with_name(stem)) if stem else name, f"{dot}{rest}".lower()


class ParquetShard:
    """A parquet file whose groups of rows are read as they are needed, and the last few kept."""

    def __init__(self, path: Path) -> None:
        import pyarrow
        import pyarrow.parquet

        self.path = path
        try:
            self._file: pyarrow.parquet.ParquetFile = pyarrow.parquet.ParquetFile(path)
        except (pyarrow.ArrowException, OSError) as error:
            raise InputError(f"{path}: cannot be read as a parquet file ({error})") from error
        names = self._file.schema_arrow.names
        self._image = _column(path, names, IMAGE_COLUMNS, "image")
        self._class = _column(path, names, CLASS_COLUMNS, "class")
        self._groups: OrderedDict[int, Any] = OrderedDict()
        self._lock = threading.Lock()

    def classes(self) -> Iterator[tuple[int, int, str]]:
        """Group, row within it, and class of every image."""
        import pyarrow

        for group in range(self._file.num_row_groups):
            try:
                column = self._file.read_row_group(group, columns=[self._class]).column(0)
            except (pyarrow.ArrowException, OSError) as error:
                raise InputError(f"{self.path}: its group {group} of rows cannot be read ({error})") from error
            yield from ((group, row, str(value)) for row, value in enumerate(column.to_pylist()))

    def image(self, group: int, row: int) -> bytes:
        """The encoded image of a row. Raises ImageError."""
        import pyarrow

        with self._lock:
            if group not in self._groups:
                try:
                    self._groups[group] = self._file.read_row_group(group, columns=[self._image]).column(0)
                except (pyarrow.ArrowException, OSError) as error:
                    raise ImageError(f"{self.path.name}: its group {group} of rows cannot be read ({error})") from error
            self._groups.move_to_end(group)
            while len(self._groups) > GROUPS_KEPT:
                self._groups.popitem(last=False)
            value = self._groups[group][row].as_py()
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes):
            raise ImageError(f"{self.path.name}: the row holds no encoded image")
        return content


@dataclass(frozen=True, slots=True)
class ParquetRow:
    """An image in a parquet file."""

    shard: ParquetShard
    group: int
    row: int

    def read(self) -> bytes:
        """Its bytes."""
        return self.shard.image(self.group, self.row)

    def identity(self) -> str:
        """The size of the whole file, as a row's is not known."""
        return str(self.shard.path.stat().st_size)


def _parquet_entries(path: Path) -> Iterator[Entry]:
    require_packages({"pyarrow": "parquet"}, purpose=f"reading {path.name}")
    shard = ParquetShard(path)
    for number, (group, row, class_text) in enumerate(shard.classes()):
        yield Entry(name=f"{path.name}/{number}", class_text=class_text, source=ParquetRow(shard, group, row))


def _column(path: Path, names: Sequence[str], known: Sequence[str], what: str) -> str:
    found = [name for name in known if name in names]
    if not found:
        there = ", ".join(map(printable, names))
        raise InputError(f"{path}: no column holds the {what}; it has {there}, known are {', '.join(known)}")
    return found[0]

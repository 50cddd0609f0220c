"""The bundle on disk: written whole or not at all, and read only through its hashes.

A folder with manifest.json, model.onnx, labels.txt, golden.safetensors, modules.safetensors and parity.json.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from levit_deploy.errors import BundleError, ConfigError
from levit_deploy.manifest import Manifest, Member

MANIFEST = "manifest.json"
MODEL = "model.onnx"
LABELS = "labels.txt"
GOLDEN = "golden.safetensors"
PARITY = "parity.json"
MODULES = "modules.safetensors"
MAX_MANIFEST_BYTES = 4 << 20
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """What a bundle must reproduce: uint8 RGB images (n, S, S, 3), float64 eager logits (n, classes)."""

    names: tuple[str, ...]
    images: NDArray[np.uint8]
    logits: NDArray[np.float64]

    def to_bytes(self) -> bytes:
        """The set as a safetensors file."""
        tensors: dict[str, NDArray[Any]] = {"images": self.images, "logits": self.logits}
        return safetensors.numpy.save(tensors, metadata={"names": json.dumps(self.names)})


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose manifest was read and checked; its members are checked whenever they are read."""

    path: Path
    manifest: Manifest

    def read(self, name: str) -> bytes:
        """The bytes of a member, after its size and sha256 were found to be the manifest's.

        Raises BundleError, naming the member, when it is absent, a link, or altered.
        """
        path, member = self._member(name)
        content = _read_at_most(path, member.size_bytes)
        if len(content) != member.size_bytes or sha256_of(content) != member.sha256:
            raise _altered(path)
        return content

    def check(self, name: str) -> None:
        """Compare a member's size and sha256 with the manifest's, without memory for its bytes; raises as `read` does.

        For engines that map the file themselves: to touch as much memory again takes them longer than to start.
        """
        path, member = self._member(name)
        if _sha256_of_file(path, member.size_bytes) != member.sha256:
            raise _altered(path)

    def verify(self) -> None:
        """Check every member; raises BundleError for the first one at fault."""
        for name in self.manifest.members:
            self.check(name)

    def _member(self, name: str) -> tuple[Path, Member]:
        member = self.manifest.members.get(name)
        if member is None:
            raise BundleError(f"{self.path}: the manifest lists no {name}; export the bundle again")
        path = self.path / name
        if not path.is_file() or path.resolve() != self.path.resolve() / name:
            raise BundleError(f"{path}: missing, or not a plain file of this bundle; export the bundle again")
        return path, member

    def labels(self) -> tuple[str, ...]:
        """Class names by index; as many as the network has classes."""
        labels = parse_labels(self.read(LABELS), self.path / LABELS)
        if len(labels) != self.manifest.config.num_classes:
            raise BundleError(
                f"{self.path / LABELS}: {len(labels)} names for {self.manifest.config.num_classes} classes"
            )
        return labels

    def golden(self) -> Golden:
        """The golden images and logits, their shapes checked against the manifest."""
        golden = _golden_from_bytes(self.read(GOLDEN), self.path / GOLDEN)
        count, side = len(self.manifest.golden_tolerance), self.manifest.config.image_size
        expected = ((count, side, side, 3), (count, self.manifest.config.num_classes))
        if (golden.images.shape, golden.logits.shape) != expected or len(golden.names) != count:
            raise BundleError(f"{self.path / GOLDEN}: tensors do not have the shapes that manifest.json promises")
        return golden


def sha256_of(content: bytes) -> str:
    """The sha256 of `content` in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def parse_labels(content: bytes, path: Path) -> tuple[str, ...]:
    """One class name a line, UTF-8; raises BundleError when that is not what `content` is."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BundleError(f"{path}: not UTF-8 text; expected one class name a line") from error
    # Not splitlines(), which takes a dozen other characters for line ends; other runtimes know only this one.
    labels = tuple(line.strip() for line in text.removesuffix("\n").split("\n"))
    if not all(labels):
        raise BundleError(f"{path}: empty line {labels.index('') + 1}; expected one class name a line")
    return labels


def open_bundle(path: Path) -> Bundle:
    """Read and check the manifest of the bundle at `path`; raises BundleError when it is not one."""
    manifest_path = path / MANIFEST
    if not manifest_path.is_file():
        hint = "is not a folder" if not path.is_dir() else f"has no {MANIFEST}"
        raise BundleError(f"{path}: not a bundle ({hint}); levit-export writes one")
    content = _read_at_most(manifest_path, MAX_MANIFEST_BYTES)
    if len(content) > MAX_MANIFEST_BYTES:
        raise BundleError(f"{manifest_path}: larger than {MAX_MANIFEST_BYTES} bytes")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{manifest_path}: not JSON ({error})") from error
    try:
        bundle = Bundle(path, Manifest.from_json(document))
        json.dumps(document, allow_nan=False)  # Python reads NaN and Infinity, which JSON does not have
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from error
    except ValueError as error:
        raise BundleError(f"{manifest_path}: not JSON ({error})") from error
    if MODEL not in bundle.manifest.members:
        raise BundleError(f"{manifest_path}: {MODEL} is not among its members: export the bundle again")
    return bundle


def write_bundle(
    destination: Path, manifest: Manifest, members: Mapping[str, bytes], *, overwrite: bool = False
) -> Bundle:
    """Write a bundle to `destination` in one rename, or leave the disk as it was.

    With `overwrite` what stood there is renamed away first and removed afterwards. The manifest's `members` are
    filled in from `members`. Raises ConfigError when `destination` exists and `overwrite` is not given, or is not
    a bundle and so is not ours to replace.
    """
    refuse_existing(destination, overwrite=overwrite)
    if destination.name in ("", ".."):
        destination = destination.resolve()  # "." can be neither renamed nor found again
    entries = {name: Member(size_bytes=len(content), sha256=sha256_of(content)) for name, content in members.items()}
    manifest = replace(manifest, members=entries)
    text = json.dumps(manifest.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    Manifest.from_json(json.loads(text))  # before anything is written: member names become paths
    with _staging_folder(destination) as staging:
        for name, content in {**members, MANIFEST: text.encode()}.items():
            write_durably(staging / name, content)
        open_bundle(staging).verify()
        refuse_existing(destination, overwrite=overwrite)  # others may have written there meanwhile
        _move_into_place(staging, destination, overwrite=overwrite)
    return open_bundle(destination)


def refuse_existing(destination: Path, *, overwrite: bool) -> None:
    """Raise ConfigError when a bundle must not, or cannot, be written to `destination`."""
    if not destination.exists() and not destination.is_symlink():
        _require_writable_parent(destination)
        return
    if not overwrite:
        raise ConfigError(f"{destination} exists: choose another --output, or replace it with --overwrite")
    is_ours = destination.is_dir() and not destination.is_symlink()
    if not is_ours or (any(destination.iterdir()) and not _looks_like_ours(destination / MANIFEST)):
        raise ConfigError(f"{destination} is not a bundle, so --overwrite does not replace it: move it away")


def _require_writable_parent(destination: Path) -> None:
    parent = next(folder for folder in destination.absolute().parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise ConfigError(f"{destination}: {parent} is not a folder that can be written to; choose another --output")


def _looks_like_ours(manifest_path: Path) -> bool:
    # Web projects have a manifest.json too; a bundle of another schema version is still a bundle.
    try:
        document = json.loads(_read_at_most(manifest_path, MAX_MANIFEST_BYTES))
    except (BundleError, ValueError, RecursionError):
        return False
    return isinstance(document, dict) and {"schema_version", "members"} <= set(document)


@contextmanager
def _staging_folder(destination: Path) -> Iterator[Path]:
    """A new hidden folder beside `destination`; gone afterwards, whatever happened."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    staging = destination.parent / f".{destination.name}.{secrets.token_hex(4)}.partial"
    staging.mkdir()
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _move_into_place(staging: Path, destination: Path, *, overwrite: bool) -> None:
    """Rename `staging` to `destination`; what stood there is put back when that fails, else removed."""
    if not (overwrite and destination.exists()):
        _claim(destination)
        try:
            staging.rename(destination)
        except BaseException:
            with suppress(OSError):  # it is not empty when the interrupt came just after the rename
                destination.rmdir()
            raise
        return
    replaced = staging.with_suffix(".replaced")
    try:
        destination.rename(replaced)
        staging.rename(destination)
    except BaseException:
        # An interrupt can come before, between or after the two.
        if replaced.exists() and not destination.exists():
            replaced.rename(destination)
        raise
    finally:
        if destination.exists():
            shutil.rmtree(replaced, ignore_errors=True)


def _claim(destination: Path) -> None:
    """Make `destination` an empty folder of ours: a rename would silently take the place of somebody else's."""
    try:
        destination.mkdir()
    except FileExistsError as error:
        raise ConfigError(f"{destination} appeared meanwhile: choose another --output, or use --overwrite") from error


def write_durably(path: Path, content: bytes) -> None:
    """A new file, and the folders above it; on disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _read_at_most(path: Path, size_bytes: int) -> bytes:
    """Up to one byte more than `size_bytes`, so that the caller sees that a file is too long."""
    try:
        with path.open("rb") as file:
            # `read` reserves what it is asked for, and the manifest may ask for gigabytes of a small file.
            return file.read(min(size_bytes, os.fstat(file.fileno()).st_size) + 1)
    except OSError as error:
        raise _unreadable(path, error) from error


def _sha256_of_file(path: Path, size_bytes: int) -> str | None:
    """The sha256 of a file, a piece at a time, or None where it has another size."""
    digest, piece = hashlib.sha256(), memoryview(bytearray(_PIECE_BYTES))
    try:
        with path.open("rb", buffering=0) as file:
            if os.fstat(file.fileno()).st_size != size_bytes:
                return None
            left = size_bytes
            while count := file.readinto(piece[: min(left, _PIECE_BYTES)]):
                digest.update(piece[:count])
                left -= count
    except OSError as error:
        raise _unreadable(path, error) from error
    return None if left else digest.hexdigest()


def _altered(path: Path) -> BundleError:
    return BundleError(f"{path}: altered or damaged (sha256 differs from manifest.json); export it again")


def _unreadable(path: Path, error: OSError) -> BundleError:
    return BundleError(f"{path}: cannot be read ({error.strerror})")


def safetensors_metadata(content: bytes) -> dict[str, str]:
    """The metadata of a safetensors file that `safetensors.numpy.load`, which drops it, has already accepted.

    Raises KeyError when it has none.
    """
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    metadata: dict[str, str] = header["__metadata__"]
    return metadata


def _golden_from_bytes(content: bytes, path: Path) -> Golden:
    try:
        tensors = safetensors.numpy.load(content)
        names = tuple(str(name) for name in json.loads(safetensors_metadata(content)["names"]))
        images, logits = tensors["images"], tensors["logits"]
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise BundleError(f"{path}: not a golden set ({error})") from error
    if images.dtype != np.uint8 or logits.dtype != np.float64:
        raise BundleError(f"{path}: images must be uint8 and logits float64")
    return Golden(names=names, images=images, logits=logits)

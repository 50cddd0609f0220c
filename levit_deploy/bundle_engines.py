"""Adding an engine to a bundle that is already in place: whole or not at all, also when two are added at once."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from levit_deploy.bundle import MANIFEST, MODEL, Bundle, open_bundle, sha256_of, write_durably
from levit_deploy.engine_entry import FOLDER, EngineEntry
from levit_deploy.errors import BundleError, ConfigError
from levit_deploy.manifest import Manifest, Member


def add_engine(
    bundle: Bundle, name: str, entry: EngineEntry, files: Mapping[str, bytes], *, overwrite: bool = False
) -> Bundle:
    """File `entry` under `name`, with `files` by the names that `entry.files` has; returns the bundle as it is then.

    The files go into a folder of their own, which is renamed into place before the manifest is, so that at every
    moment the manifest on disk is true. Members of an engine that is replaced are removed afterwards.

    Raises:
        ConfigError: the bundle has such an engine, and `overwrite` is not given; or it cannot be written to.
        BundleError: the bundle was changed since it was opened, and the engine belongs to another graph.
    """
    refuse_existing_engine(bundle, name, overwrite=overwrite)
    content = sha256_of(b"".join(sha256_of(file).encode() for file in files.values()))
    folder = f"{FOLDER}/{name}-{content[:12]}"
    with _locked(bundle.path):
        current = open_bundle(bundle.path)
        refuse_existing_engine(current, name, overwrite=overwrite)
        if current.manifest.members[MODEL].sha256 != entry.model_sha256:
            raise BundleError(f"{bundle.path / MODEL} was replaced while {name} was built from it: build it again")
        replaced = _members_of(current.manifest, name)
        added = {
            f"{folder}/{file}": Member(size_bytes=len(data), sha256=sha256_of(data)) for file, data in files.items()
        }
        manifest = replace(
            current.manifest,
            members={key: value for key, value in current.manifest.members.items() if key not in replaced} | added,
            engines={**current.manifest.engines, name: replace(entry, files=tuple(added))},
        )
        text = json.dumps(manifest.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        Manifest.from_json(json.loads(text))  # before anything is written: names become paths
        # Named after its content, the folder may be the one that the manifest on disk names: then it stays in place.
        if not _all_there(current, added):
            _write_folder(bundle.path / folder, files)
        _replace_file(bundle.path / MANIFEST, text.encode())
        for member in replaced - set(added):
            _remove(bundle.path / member)
    return open_bundle(bundle.path)


def refuse_existing_engine(bundle: Bundle, name: str, *, overwrite: bool) -> None:
    """Raise ConfigError when `bundle` has such an engine, which must not be replaced, or cannot be written to."""
    if name in bundle.manifest.engines and not overwrite:
        raise ConfigError(f"{bundle.path} has an engine {name} already: replace it with --overwrite")
    if not os.access(bundle.path, os.W_OK | os.X_OK):
        raise ConfigError(f"{bundle.path} is not a folder that can be written to: copy the bundle to one that is")


def _members_of(manifest: Manifest, name: str) -> set[str]:
    engine = manifest.engines.get(name)
    return set() if engine is None else set(engine.files)


def _all_there(bundle: Bundle, members: Mapping[str, Member]) -> bool:
    """Whether the bundle has these very members, and their files are what they should be."""
    try:
        return all(
            bundle.manifest.members.get(name) == member and bundle.read(name) for name, member in members.items()
        )
    except BundleError:
        return False


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Nobody else adds an engine to `folder` while this lasts; the lock goes with the process."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """`files` below `folder`, which is named after their content, so that what stands there already may be replaced."""
    staging = folder.parent / f".{folder.name}.{secrets.token_hex(4)}.partial"
    try:
        for name, data in files.items():
            write_durably(staging / name, data)
        shutil.rmtree(folder, ignore_errors=True)
        staging.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _replace_file(path: Path, content: bytes) -> None:
    staging = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        write_durably(staging, content)
        staging.replace(path)
    finally:
        staging.unlink(missing_ok=True)


def _remove(path: Path) -> None:
    """Remove a member and its folder, if that is empty then; what cannot be removed does no harm."""
    with suppress(OSError):
        path.unlink()
        path.parent.rmdir()

"""Read what a checkpoint file holds, without running anything from it."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import re
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from levit_deploy.errors import CheckpointError

MAX_FILE_BYTES = 4 * 2**30
_ZIP_MAGIC = b"PK\x03\x04"
_PICKLE_MAGIC = b"\x80"
_LFS_POINTER = b"version https://git-lfs"
_UNSAFE_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileContents:
    """The unpickled object of a file, and the hash of the bytes it came from."""

    loaded: Any
    sha256: str


def read_file(path: Path) -> FileContents:
    """Read a PyTorch or safetensors file; the hash is of the very bytes that were read."""
    data = _read_bytes(path)
    loaded = _read_safetensors(data) if _is_safetensors(path, data) else _read_pickle(data)
    return FileContents(loaded=loaded, sha256=hashlib.sha256(data).hexdigest())


def _read_bytes(path: Path) -> bytes:
    if path.is_dir():
        raise CheckpointError("is a folder; pass the file in it, such as model.safetensors or pytorch_model.bin")
    if not path.exists():
        raise CheckpointError("no such file; check the path, or use --pretrained for the official weights")
    if not path.is_file():
        raise CheckpointError("is not a regular file; pass a .pth, .pt, .bin or .safetensors file")
    size = path.stat().st_size
    if size == 0:
        raise CheckpointError("is empty; download or copy it again")
    if size > MAX_FILE_BYTES:
        raise CheckpointError(
            f"has {size} bytes, more than the {MAX_FILE_BYTES} any LeViT checkpoint needs; pass one of LeViT"
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot be read ({error.strerror}); check its permissions") from error


def _is_safetensors(path: Path, data: bytes) -> bool:
    return path.suffix.lower() == ".safetensors" or (data[8:9] == b"{" and not data.startswith(_ZIP_MAGIC))


def _read_safetensors(data: bytes) -> dict[str, torch.Tensor]:
    try:
        return safetensors.torch.load(data)
    except (safetensors.SafetensorError, KeyError, ValueError, RuntimeError, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"is not a valid safetensors file ({_first_line(error)}); it is truncated or of another format"
        ) from error


def _read_pickle(data: bytes) -> Any:
    if data.startswith(_ZIP_MAGIC):
        _require_plain_archive(data)
    elif not data.startswith(_PICKLE_MAGIC):
        raise CheckpointError(_describe_foreign(data))
    try:
        # A Namespace is what training scripts keep their options in; it holds values and runs nothing.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # damaged pickles raise nearly anything: IndexError, KeyError, EOFError, …
        raise CheckpointError(_describe_failure(error)) from error


def _require_plain_archive(data: bytes) -> None:
    """Refuse archives that torch.save does not write: they unpack to far more than the file, or hold code."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
    except zipfile.BadZipFile as error:
        raise CheckpointError("is a truncated or damaged PyTorch file; download or copy it again") from error
    if sum(entry.file_size for entry in entries) > len(data):
        raise CheckpointError("is a compressed archive, which torch.save does not write; pass the original file")
    if any(entry.filename.endswith("/constants.pkl") for entry in entries):
        raise CheckpointError("is a TorchScript archive; pass a file with the state dict, saved by torch.save")


def _describe_foreign(data: bytes) -> str:
    if data.startswith(_LFS_POINTER):
        return "is a Git LFS pointer, not the checkpoint itself; run `git lfs pull`"
    printable = all(byte >= 0x20 or byte in b"\t\n\r\f" for byte in data[:64])
    kind = "is a text file" if printable else "is of an unknown format"
    return f"{kind}; expected a PyTorch (.pth, .pt, .bin) or safetensors checkpoint"


def _describe_failure(error: Exception) -> str:
    if match := _UNSAFE_GLOBAL.search(str(error)):
        return (
            f"holds a Python object of {match.group(1)!r} and is refused, as loading that could run "
            "code; where the file is trusted and its own software is installed, save the state dict alone "
            "to a new file"
        )
    return f"is a truncated or damaged PyTorch file ({_first_line(error)}); download or copy it again"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]

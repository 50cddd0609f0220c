"""What `prepare` leaves in a peer's folder: a description, and the one file that is timed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from levit_deploy.errors import ConfigError, InputError

DESCRIPTION = "prepared.json"
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """How `file`, whose hash is `sha256`, came to be. `settings` are those of the order that it was prepared for."""

    settings: Mapping[str, str]
    macs: int
    file: str
    sha256: str
    details: Mapping[str, str]

    def write(self, folder: Path) -> None:
        """Write the description, which says that all else is there."""
        (folder / DESCRIPTION).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def read_prepared(folder: Path, settings: Mapping[str, str]) -> Prepared:
    """What is in `folder`, its file found unaltered.

    Raises:
        InputError: nothing was prepared there, or it was altered since.
        ConfigError: it was prepared for other settings.
    """
    try:
        prepared = Prepared(**json.loads((folder / DESCRIPTION).read_bytes()))
        digest = sha256_of_file(folder / prepared.file)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{folder}: the peer is not prepared there ({error})") from error
    if digest != prepared.sha256:
        raise InputError(f"{folder / prepared.file}: altered since it was prepared; prepare the peer again")
    if prepared.settings != settings:
        raise ConfigError(f"{folder}: prepared for {prepared.settings}, asked for is {dict(settings)}")
    return prepared


def sha256_of_file(path: Path) -> str:
    """The sha256 of the file in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        # In blocks: the peak memory of the process that calls this is published.
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()

"""Files that a command leaves for its user: refused where one is in the way, and whole or not there at all."""

from __future__ import annotations

import secrets
from pathlib import Path

from levit_deploy.bundle import write_durably
from levit_deploy.errors import ConfigError


def require_destination(path: Path, *, overwrite: bool) -> None:
    """Raise ConfigError unless a result may be written to `path`."""
    if not path.absolute().parent.is_dir() or path.is_dir():
        raise ConfigError(f"{path} is not a file in an existing folder")
    if (path.exists() or path.is_symlink()) and not overwrite:
        raise ConfigError(f"{path} exists: choose another name, or replace it with --overwrite")


def write_result(path: Path, content: bytes, *, overwrite: bool) -> None:
    """Write `content` to `path`, whole or not at all; raises ConfigError as `require_destination` does."""
    require_destination(path, overwrite=overwrite)
    staging = path.absolute().parent / f".{path.name}.{secrets.token_hex(4)}.partial"
    try:
        write_durably(staging, content)
        require_destination(path, overwrite=overwrite)  # others may have written there meanwhile
        staging.replace(path)
    finally:
        staging.unlink(missing_ok=True)

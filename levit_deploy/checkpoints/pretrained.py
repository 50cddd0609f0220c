"""Fetch the authors' ImageNet weights."""

from __future__ import annotations

import hashlib
import http.client
import logging
import urllib.error
from pathlib import Path, PurePosixPath

import torch

from levit_deploy.architectures import PUBLISHED, PublishedFigures, config_for
from levit_deploy.errors import EnvironmentIncompleteError

logger = logging.getLogger(__name__)

_HASH_CHUNK_BYTES = 2**20


def fetch_pretrained(arch: str, *, cache_dir: Path | None = None, progress: bool = True) -> Path:
    """The official checkpoint of `arch`, downloaded unless it is in `cache_dir` (torch.hub's by default).

    The hash is checked each time; a damaged copy is replaced. An interrupted download leaves nothing behind.

    Raises:
        ConfigError: There is no such variant.
        EnvironmentIncompleteError: The file is not there and cannot be fetched; the text says what to do.
    """
    published = PUBLISHED[config_for(arch).arch]
    folder = Path(torch.hub.get_dir()) / "checkpoints" if cache_dir is None else Path(cache_dir)
    path = folder / PurePosixPath(published.checkpoint_url).name
    if path.is_file():
        if _sha256(path).startswith(published.checkpoint_sha256_prefix):
            return path
        logger.warning("%s is damaged (its sha256 does not match) and is downloaded again", path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(
            published.checkpoint_url, str(path), published.checkpoint_sha256_prefix, progress=progress
        )
    except (OSError, http.client.HTTPException, RuntimeError) as error:
        raise EnvironmentIncompleteError(_advice(published, path, error)) from error
    return path


def _advice(published: PublishedFigures, path: Path, error: Exception) -> str:
    if isinstance(error, RuntimeError):  # how torch.hub reports a wrong hash
        cause = f"the download was cut short or altered: its sha256 is not {published.checkpoint_sha256_prefix}…"
    elif isinstance(error, urllib.error.URLError | http.client.HTTPException | ConnectionError | TimeoutError):
        cause = f"no download is possible ({error})"
    else:
        cause = f"the cache cannot be written ({error})"
    return (
        f"cannot fetch {published.checkpoint_url}: {cause}; try again, or download it elsewhere and put it "
        f"at {path}, or pass it with --checkpoint"
    )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_HASH_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()

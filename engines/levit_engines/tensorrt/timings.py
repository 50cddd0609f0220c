"""The timing cache of full TensorRT: a file that makes the next build shorter and its choices the same."""

from __future__ import annotations

from pathlib import Path

from levit_deploy.errors import ConfigError, InputError
from levit_engines.tensorrt.api import TrtBuilderConfig
from levit_engines.tensorrt.writing import replace_file


def load_timings(config: TrtBuilderConfig, path: Path) -> str:
    """Give `config` the timings of `path`, or none where there is no such file; a sentence when they do not fit.

    Raises InputError when the file cannot be read, ConfigError when there is no folder to write it to.
    """
    if not path.parent.is_dir():
        raise ConfigError(f"--timing-cache {path}: cannot be written (there is no such folder)")
    try:
        content = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise InputError(f"--timing-cache {path}: cannot be read ({error.strerror})") from error
    if config.set_timing_cache(config.create_timing_cache(content), False):
        return ""
    config.set_timing_cache(config.create_timing_cache(b""), False)
    return f"the timings of {path} are of another GPU or version and were not used; the file is replaced"


def save_timings(config: TrtBuilderConfig, path: Path) -> None:
    """Write the timings to `path` in one rename; raises ConfigError when that is not possible."""
    cache = config.get_timing_cache()
    if cache is None:
        return
    try:
        replace_file(path, bytes(cache.serialize()))
    except OSError as error:
        raise ConfigError(f"--timing-cache {path}: cannot be written ({error.strerror})") from error

"""Kernels that TensorRT-RTX compiles while an engine runs, kept so that the next process need not compile them again.

They lie in the user's cache folder and not in the bundle, which is hashed and does not change. Before it uses them, the
library itself checks that they are of its version, this GPU and this driver.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from levit_engines.tensorrt.api import TrtContext, TrtEngine
from levit_engines.tensorrt.devices import Gpu
from levit_engines.tensorrt.optional_api import CachingConfig, ConfigurableEngine, RuntimeCache
from levit_engines.tensorrt.writing import replace_file

SWITCH = "LEVIT_KERNEL_CACHE"


def kernel_folder(environment: Mapping[str, str]) -> Path | None:
    """Where kernels are kept; None where LEVIT_KERNEL_CACHE=off or there is no home."""
    cache = environment.get("XDG_CACHE_HOME", "")
    home = environment.get("HOME", "")
    # The XDG specification: a path that is not absolute is to be ignored.
    base = Path(cache) if Path(cache).is_absolute() else Path(home, ".cache")
    if environment.get(SWITCH) == "off" or not base.is_absolute():
        return None
    return base / "levit-deploy" / "tensorrt-rtx"


class KeptKernels:
    """The kernels of one plan with one version of the library on one GPU; one context may use them."""

    def __init__(self, folder: Path, *, plan_sha256: str, version: str, gpu: Gpu) -> None:
        """Nothing is read or written yet."""
        key = "\n".join((plan_sha256, version, *gpu.to_json().values()))
        self._path = folder / f"{hashlib.sha256(key.encode()).hexdigest()}.kernels"
        self._content = b""
        self._cache: RuntimeCache | None = None
        self.note = ""

    def create_context(self, engine: TrtEngine) -> TrtContext | None:
        """A context that takes and keeps kernels, or a plain one where the library or the folder has no place for them.

        `note` says afterwards what a user should know of that. The context must be gone before this is closed.
        """
        if not isinstance(engine, ConfigurableEngine):
            return engine.create_execution_context()
        config = engine.create_runtime_config()
        if not isinstance(config, CachingConfig):
            return engine.create_execution_context()
        cache = config.create_runtime_cache()
        if not self._fill(cache) or not config.set_runtime_cache(cache):
            return engine.create_execution_context()
        self._cache = cache
        return engine.create_execution_context(config)

    def _fill(self, cache: RuntimeCache) -> bool:
        """Give `cache` what was kept; whether there is a place to keep what comes."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._content = self._path.read_bytes() if self._path.exists() else b""
        except OSError as error:
            self.note = f"{self._path}: compiled kernels cannot be kept ({error.strerror}): {SWITCH}=off does without"
            return False
        if self._content and not cache.deserialize(self._content):
            self.note = f"{self._path}: the kernels kept there were refused; they are compiled again"
        return True

    def close(self) -> None:
        """Keep what was compiled since; a file that cannot be written is one that is not there next time."""
        cache, self._cache = self._cache, None
        memory = None if cache is None else cache.serialize()
        content = b"" if memory is None else bytes(memory)
        if content and content != self._content:
            with suppress(OSError):
                replace_file(self._path, content)

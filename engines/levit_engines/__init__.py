"""ONNX to running engine. Nothing here needs torch, and importing this loads no engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from levit_deploy.bundle import Bundle
    from levit_deploy.runner import Runner

__all__ = ["ENGINES", "open_runner"]

ENGINES = ("onnxruntime",)


def open_runner(bundle: Bundle | Path, *, engine: str = "onnxruntime", threads: int | None = None) -> Runner:
    """The network of `bundle`, loaded into `engine` and ready to infer; close it or use it in a `with`.

    `threads` defaults to what this process may use.

    Raises:
        ConfigError: there is no such engine, or `threads` is below 1.
        BundleError: the bundle is incomplete or altered, or its graph is not what its manifest says.
        EnvironmentIncompleteError: the engine is not installed.
    """
    # Imported late: `import levit_engines` must stay free of numpy and of every engine.
    from levit_deploy.bundle import open_bundle
    from levit_deploy.errors import ConfigError

    if engine not in ENGINES:
        raise ConfigError(f"unknown engine {engine!r}: choose from {', '.join(ENGINES)}")
    from levit_engines.onnxruntime import OnnxRuntimeRunner

    opened = open_bundle(bundle) if isinstance(bundle, Path) else bundle
    return OnnxRuntimeRunner(opened, threads=threads)

"""ONNX to running engine. Nothing here needs torch, and importing this loads no engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from levit_engines.catalogue import CATALOGUE
from levit_engines.engine_choice import default_engine

if TYPE_CHECKING:
    from levit_deploy.bundle import Bundle
    from levit_engines.building import BuildOutcome
    from levit_engines.built import BuildRequest
    from levit_engines.bundle_runner import BundleRunner

__all__ = ["ENGINES", "build", "default_engine", "open_runner"]

ENGINES = tuple(CATALOGUE)


def open_runner(bundle: Bundle | Path, *, engine: str | None = None, threads: int | None = None) -> BundleRunner:
    """The network of `bundle`, loaded into `engine` and ready to infer; close it or use it in a `with`.

    `engine` defaults to the fastest on this CPU (`default_engine`), `threads` to what this process may use.

    Raises:
        ConfigError: there is no such engine, it does not take the bundle's precision, or `threads` is below 1.
        BundleError: the bundle is incomplete or altered, or its graph is not what its manifest says.
        EnvironmentIncompleteError: the engine is not installed, was not built, or cannot run here.
    """
    # Imported late: `import levit_engines` must stay free of numpy and of every engine.
    from importlib import import_module

    from levit_deploy.bundle import open_bundle
    from levit_deploy.errors import ConfigError

    if engine is not None and engine not in CATALOGUE:
        raise ConfigError(f"unknown engine {engine!r}: choose from {', '.join(ENGINES)}")
    if threads is not None and threads < 1:
        raise ConfigError(f"threads {threads} must be at least 1")
    opened = open_bundle(bundle) if isinstance(bundle, Path) else bundle
    engine = engine or default_engine(opened)
    if opened.manifest.precision not in CATALOGUE[engine].precisions:
        takes = ", ".join(CATALOGUE[engine].precisions)
        raise ConfigError(
            f"{opened.path} is {opened.manifest.precision}, the engine {engine} takes {takes}: choose from "
            + ", ".join(name for name, one in CATALOGUE.items() if opened.manifest.precision in one.precisions)
        )
    runner: BundleRunner = import_module(CATALOGUE[engine].module).open_runner(opened, engine, threads)
    return runner


def build(
    bundle: Bundle | Path, *, engine: str, request: BuildRequest | None = None, overwrite: bool = False
) -> BuildOutcome:
    """Compile the graph of `bundle` for `engine` and add it to the bundle, proven where it can run here.

    Raises:
        ConfigError: there is no such engine, it needs no building, an option does not fit it, or the bundle has one
            already and `overwrite` is not given.
        BundleError: the bundle is incomplete or altered.
        ParityError: the engine does not reproduce the golden logits; the bundle is left as it was.
        EnvironmentIncompleteError: the engine is not installed.
    """
    from levit_deploy.bundle import open_bundle
    from levit_engines.building import build_engine
    from levit_engines.built import BuildRequest

    opened = open_bundle(bundle) if isinstance(bundle, Path) else bundle
    return build_engine(opened, engine, request or BuildRequest(), overwrite=overwrite)

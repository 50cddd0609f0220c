"""Building an engine: what can be asked for, what comes of it, and what must hold before a built one is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from levit_deploy.bundle import MODEL, Bundle
from levit_deploy.engine_entry import EngineEntry, Profile
from levit_deploy.errors import ConfigError, EnvironmentIncompleteError
from levit_deploy.manifest import BatchSizes


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """One build. An option that the engine does not have is refused by the engine, by name (`refuse_options`)."""

    compute_capabilities: tuple[str, ...] = ()
    min_batch: int | None = None
    opt_batch: int | None = None
    max_batch: int | None = None
    workspace_mib: int | None = None
    timing_cache: Path | None = None
    threads: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A build's result: `files` by name, the one to load first, and what the manifest will say of them.

    `runs_here` is empty when the engine can be opened on this machine, else why it cannot.
    """

    files: Mapping[str, bytes]
    libraries: Mapping[str, str]
    requirements: Mapping[str, str]
    profile: Profile
    options: Mapping[str, str]
    network: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    runs_here: str = ""


def refuse_options(request: BuildRequest, engine: str, reasons: Mapping[str, str]) -> None:
    """Raise ConfigError for the first option of `request` that is set though `reasons` says why it has no use."""
    for field, reason in reasons.items():
        if getattr(request, field) not in (None, ()):
            raise ConfigError(f"--{field.replace('_', '-').replace('capabilities', 'capability')}: {engine} {reason}")


def profile_of(request: BuildRequest, sizes: BatchSizes) -> Profile:
    """The batch sizes to build for: those of the graph where the request says nothing. The optimum is the smallest one.

    Raises ConfigError when they are in the wrong order or the graph does not take them.
    """
    minimum = sizes.minimum if request.min_batch is None else request.min_batch
    maximum = sizes.maximum if request.max_batch is None else request.max_batch
    optimum = minimum if request.opt_batch is None else request.opt_batch
    if not sizes.minimum <= minimum <= optimum <= maximum <= sizes.maximum:
        raise ConfigError(
            f"--min-batch {minimum}, --opt-batch {optimum}, --max-batch {maximum}: needed is "
            f"{sizes.minimum} <= min <= opt <= max <= {sizes.maximum}, the range of the graph"
        )
    return Profile(minimum=minimum, optimum=optimum, maximum=maximum)


def entry_of(bundle: Bundle, engine: str) -> EngineEntry:
    """The manifest's entry of a built engine, found to belong to the bundle's graph.

    Raises EnvironmentIncompleteError when the bundle has no such engine, or one of another graph.
    """
    entry = bundle.manifest.engines.get(engine)
    command = f"levit-build {bundle.path} --engine {engine}"
    if entry is None:
        raise EnvironmentIncompleteError(f"{bundle.path}: has no engine {engine} yet: run {command}")
    if entry.model_sha256 != bundle.manifest.members[MODEL].sha256:
        raise EnvironmentIncompleteError(
            f"{bundle.path}: its engine {engine} was built from another {MODEL}: run {command} --overwrite"
        )
    return entry

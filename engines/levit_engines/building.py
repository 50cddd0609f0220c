"""A build from beginning to end: compile, prove on a copy where the engine can run, then add it to the bundle."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from levit_deploy.bundle import MODEL, Bundle, open_bundle
from levit_deploy.bundle_engines import add_engine, refuse_existing_engine
from levit_deploy.engine_entry import EngineEntry
from levit_deploy.errors import ConfigError, ExportError
from levit_deploy.machine import describe_machine
from levit_deploy.progress import Observer, StageClock
from levit_engines.built import BuildRequest, Built
from levit_engines.bundle_runner import BundleRunner, require_specification
from levit_engines.catalogue import CATALOGUE
from levit_engines.progress import OnProgress
from levit_engines.self_test import self_test

CHECK, BUILD, PROVE, WRITE = "check", "build", "prove", "write"
STEPS = {
    CHECK: "checking the hash of every file",
    BUILD: "building the engine",
    PROVE: "golden images and the batch suite on the engine",
    WRITE: "adding it to the bundle",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOutcome:
    """The bundle with its new engine, the engine's entry, what a user should know, and how long each step took."""

    bundle: Bundle
    engine: str
    entry: EngineEntry
    notes: tuple[str, ...]
    seconds: Mapping[str, float]


def build_engine(
    bundle: Bundle,
    engine: str,
    request: BuildRequest,
    *,
    overwrite: bool,
    observer: Observer | None = None,
    on_progress: OnProgress | None = None,
) -> BuildOutcome:
    """Build `engine` from the graph of `bundle`; see `levit_engines.build`."""
    _require_buildable(engine)
    refuse_existing_engine(bundle, engine, overwrite=overwrite)
    clock = StageClock(observer)
    with clock.stage(CHECK):
        require_specification(bundle)
        bundle.verify()
    with clock.stage(BUILD):
        built: Built = import_module(CATALOGUE[engine].module).build(bundle, engine, request, on_progress)
    entry = _entry(bundle, built, clock.seconds[BUILD])
    if built.runs_here:
        entry = replace(entry, verified=f"not run where it was built: {built.runs_here}")
    else:
        with clock.stage(PROVE):
            entry = replace(entry, verified=_prove(bundle, engine, entry, built, request.threads))
    with clock.stage(WRITE):
        bundle = add_engine(bundle, engine, entry, built.files, overwrite=overwrite)
    return BuildOutcome(
        bundle=bundle,
        engine=engine,
        entry=bundle.manifest.engines[engine],
        notes=built.notes,
        seconds=clock.seconds,
    )


def _require_buildable(engine: str) -> None:
    if engine not in CATALOGUE:
        raise ConfigError(f"unknown engine {engine!r}: choose from {', '.join(CATALOGUE)}")
    if not CATALOGUE[engine].buildable:
        raise ConfigError(f"{engine} needs no building: levit-verify and levit-classify open it directly")


def _entry(bundle: Bundle, built: Built, seconds: float) -> EngineEntry:
    machine = describe_machine()
    return EngineEntry(
        files=tuple(built.files),
        model_sha256=bundle.manifest.members[MODEL].sha256,
        libraries=built.libraries,
        requirements=built.requirements,
        profile=built.profile,
        options=built.options,
        network=built.network,
        machine={"cpu": machine.cpu, "system": machine.system, "python": machine.python},
        build_seconds=round(seconds, 3),
        verified="",
    )


def _prove(bundle: Bundle, engine: str, entry: EngineEntry, built: Built, threads: int | None) -> str:
    """Run the engine from a copy of the bundle, so that one that fails is never in the bundle itself."""
    with tempfile.TemporaryDirectory(prefix="levit-build-") as folder:
        copy = Path(folder, bundle.path.resolve().name)
        shutil.copytree(bundle.path, copy)
        trial = add_engine(open_bundle(copy), engine, entry, built.files, overwrite=True)
        module = import_module(CATALOGUE[engine].module)
        with module.open_runner(trial, engine, threads) as runner:
            _require_own_file(runner, trial.manifest.engines[engine])
            return self_test(runner, trial, engine)


def _require_own_file(runner: BundleRunner, entry: EngineEntry) -> None:
    """Raise ExportError when the engine was opened from the bundle's graph instead of what was built."""
    opened = runner.provenance["graph"]
    if opened != entry.files[0]:
        raise ExportError(f"the built engine was not used but {opened}: {'; '.join(runner.notes) or 'report this'}")

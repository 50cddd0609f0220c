"""The whole examination: facts, probes, verdicts, and whether all of that is well."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from levit_deploy.bundle import Bundle
from levit_deploy.progress import Observer
from levit_engines.catalogue import CATALOGUE
from levit_engines.doctor.clashes import Clash, find_clashes
from levit_engines.doctor.entries import EntryVerdict, judge_bundle
from levit_engines.doctor.facts import Facts
from levit_engines.doctor.probe import Probe, ProbeTask
from levit_engines.doctor.probing import run_probes
from levit_engines.doctor.verdicts import State, Verdict, judge, main_module

TIMEOUT_S, COMPILE_TIMEOUT_S = 120.0, 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What `levit-doctor` says; `bundle` is the name of the one that was asked about."""

    facts: Facts
    clashes: tuple[Clash, ...]
    verdicts: tuple[Verdict, ...]
    bundle: str | None
    entries: tuple[EntryVerdict, ...]
    seconds: float

    @property
    def problem(self) -> str:
        """Why this machine is not in order, on one line; empty when an engine works and nothing clashes."""
        parts = []
        if self.clashes:
            names = "; ".join(", ".join(clash.packages) for clash in self.clashes)
            parts.append(f"packages are at odds ({names})")
        if not any(verdict.state is State.WORKS for verdict in self.verdicts):
            parts.append(
                "no engine works" if len(self.verdicts) > 1 else f"{self.verdicts[0].engine} does not run here"
            )
        return " and ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        entries = [entry.to_json() for entry in self.entries]
        return {
            **self.facts.to_json(),
            "clashes": [clash.to_json() for clash in self.clashes],
            "engines": [verdict.to_json() for verdict in self.verdicts],
            "bundle": None if self.bundle is None else {"name": self.bundle, "engines": entries},
            "in_order": not self.problem,
            "seconds": round(self.seconds, 3),
        }


def plan_probes(engines: Sequence[str], facts: Facts) -> tuple[ProbeTask, ...]:
    """What to try: the engines whose package is there, the slowest first, then what is only imported."""
    tasks = [
        ProbeTask(
            target=name,
            module=main_module(CATALOGUE[name]),
            title=CATALOGUE[name].title,
            timeout_s=COMPILE_TIMEOUT_S if name == "torch-compile" else TIMEOUT_S,
        )
        for name in engines
        if main_module(CATALOGUE[name]) in facts.modules
    ]
    tasks += [
        ProbeTask(target=name, module=name, title=f"importing {name}", timeout_s=TIMEOUT_S)
        for name in _only_imported(engines)
        if name in facts.modules
    ]
    return tuple(sorted(tasks, key=lambda task: -task.timeout_s))


def _only_imported(engines: Sequence[str]) -> list[str]:
    """What no engine is made of, but all or some of `engines` need; onnxsim is the exporter's, and slow to import."""
    needed = {name for engine in engines for name in CATALOGUE[engine].packages}
    exporting = ["onnxsim"] if len(engines) == len(CATALOGUE) else []
    return ["onnx", *exporting, *sorted(needed - {main_module(engine) for engine in CATALOGUE.values()})]


def examine(
    facts: Facts,
    tasks: Sequence[ProbeTask],
    engines: Sequence[str],
    *,
    bundle: Bundle | None = None,
    observer: Observer | None = None,
) -> Diagnosis:
    """Run the probes and judge `engines`, and those that `bundle` holds."""
    start_s = time.perf_counter()
    probes = run_probes(tasks, at_once=facts.machine.usable_cpus, observer=observer)
    return diagnose(facts, probes, engines, bundle=bundle, seconds=time.perf_counter() - start_s)


def diagnose(
    facts: Facts, probes: Sequence[Probe], engines: Sequence[str], *, bundle: Bundle | None = None, seconds: float = 0.0
) -> Diagnosis:
    """Make verdicts of facts and probes."""
    by_target = {probe.target: probe for probe in probes}
    clashes = find_clashes(facts, probes)
    verdicts = {name: judge(CATALOGUE[name], facts, by_target.get(name), clashes) for name in engines}
    entries = () if bundle is None else judge_bundle(bundle, facts, verdicts)
    return Diagnosis(
        facts=facts,
        clashes=clashes,
        verdicts=tuple(verdicts.values()),
        bundle=None if bundle is None else bundle.manifest.name,
        entries=entries,
        seconds=seconds,
    )

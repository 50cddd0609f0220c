"""From a tree of phases that come and go to one figure that only grows."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import cast

from levit_engines.progress import OnProgress
from levit_engines.tensorrt.api import Library, TrtProgressMonitor

TOTAL = 1000


@dataclass(slots=True)
class _Phase:
    name: str
    steps: int
    done: int = 0


class BuildProgress:
    """Phases nest, and a phase is one step of the one it started in; `report` gets (phase, done, TOTAL).

    Safe to be told from several threads. `report` is called with ever larger figures, under the lock.
    """

    def __init__(self, report: OnProgress) -> None:
        self._report = report
        self._open: list[_Phase] = []
        self._furthest = 0
        self._lock = threading.Lock()

    def started(self, name: str, steps: int) -> None:
        """A phase begins, inside of the one that began last."""
        with self._lock:
            self._open.append(_Phase(name, max(steps, 1)))
            self._tell()

    def stepped(self, name: str, step: int) -> None:
        """Step number `step`, counted from 0, of a phase is done."""
        with self._lock:
            phase = self._find(name)
            if phase is not None:
                phase.done = max(phase.done, min(step + 1, phase.steps))
            self._tell()

    def finished(self, name: str) -> None:
        """A phase is done, and with it all that began inside of it."""
        with self._lock:
            phase = self._find(name)
            if phase is None:
                return
            phase.done = phase.steps
            self._tell()
            del self._open[self._open.index(phase) :]

    def _find(self, name: str) -> _Phase | None:
        return next((phase for phase in reversed(self._open) if phase.name == name), None)

    def _tell(self) -> None:
        share = 0.0
        for phase in reversed(self._open):
            share = min(1.0, (phase.done + (share if phase.done < phase.steps else 0.0)) / phase.steps)
        done = int(TOTAL * share)
        if done > self._furthest:
            self._furthest = done
            self._report(self._open[-1].name, done, TOTAL)


def monitor_of(library: Library, progress: BuildProgress) -> TrtProgressMonitor:
    """A progress monitor of `library` that tells `progress`."""

    def phase_start(_self: object, phase: str, _parent: str | None, steps: int) -> None:
        progress.started(phase, steps)

    def phase_finish(_self: object, phase: str) -> None:
        progress.finished(phase)

    def step_complete(_self: object, phase: str, step: int) -> bool:
        progress.stepped(phase, step)
        return True

    methods = {"phase_start": phase_start, "phase_finish": phase_finish, "step_complete": step_complete}
    return cast(TrtProgressMonitor, type("Monitor", (library.IProgressMonitor,), methods)())

"""The stages of a long command: timed, and shown on stderr while they run."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn


class Observer(Protocol):
    """Who is told, as it happens, which stage runs; a progress display, for example."""

    def started(self, name: str) -> None: ...

    def finished(self, name: str, seconds: float) -> None: ...


class StageClock:
    """Times stages, by name in the order they ran, and tells an observer."""

    def __init__(self, observer: Observer | None) -> None:
        self._observer = observer
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what runs inside; a stage that fails is not counted."""
        if self._observer is not None:
            self._observer.started(name)
        start_s = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start_s
        if self._observer is not None:
            self._observer.finished(name, self.seconds[name])


class StageDisplay:
    """A live list of stages on stderr; on a terminal with spinners, else one line a stage."""

    def __init__(self, descriptions: Mapping[str, str]) -> None:
        self._console = Console(stderr=True)
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._descriptions = dict(descriptions)
        self._width = max(map(len, self._descriptions), default=0)
        self._tasks: dict[str, TaskID] = {}
        self._finished = 0

    def __enter__(self) -> StageDisplay:  # noqa: PYI034 (Python 3.10 has no typing.Self)
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def started(self, name: str) -> None:
        """Show that a stage runs."""
        self._tasks[name] = self._progress.add_task(self._line(name), total=1)

    def advanced(self, name: str, detail: str, done: int, total: int) -> None:
        """Show what a running stage is at, and how far: `done` of `total`."""
        share = f" {done / total:.0%}" if total else ""
        self._progress.update(self._tasks[name], description=f"{self._line(name)}: {detail}{share}")

    def finished(self, name: str, seconds: float) -> None:
        """Show that it is done."""
        self._progress.update(self._tasks[name], completed=1, description=self._line(name))
        if not self._console.is_terminal:
            self._finished += 1
            step = f"[{self._finished}/{len(self._descriptions)}]"
            self._console.print(f"{step} {self._line(name)}: {seconds:.1f} s", highlight=False, markup=False)

    def _line(self, name: str) -> str:
        return f"{name:<{self._width}} {self._descriptions[name]}"

"""How far a long measurement is, on stderr."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from levit_deploy.commandline import print_line

LINE_EVERY_S = 120.0


class ProgressDisplay:
    """A bar on a terminal, else a line every few minutes; both with the time that is left.

    `total` is the work to do, in any unit in which equal amounts take about equally long.
    """

    def __init__(self, total: int) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            auto_refresh=False,  # its thread would take CPU time from what is measured
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=total)
        self._total, self._done = total, 0
        self._start_s = self._line_s = time.monotonic()

    def __enter__(self) -> ProgressDisplay:  # noqa: PYI034 (Python 3.10 has no typing.Self)
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def advance(self, work: int, description: str) -> None:
        """`work` more is done; `description` says where the measurement is."""
        self._done += work
        self._progress.update(self._task, advance=work, description=description, refresh=True)
        now_s = time.monotonic()
        if self._progress.disable and now_s - self._line_s >= LINE_EVERY_S:
            self._line_s = now_s
            minutes = (now_s - self._start_s) * (self._total - self._done) / self._done / 60
            print_line(f"{description}; {self._done / self._total:.0%} done, about {minutes:.0f} min left")

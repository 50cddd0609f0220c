"""The process that builds: takes an order from a folder, puts the plan there, and tells of it on stdout, in JSON."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from levit_deploy.errors import EnvironmentIncompleteError, LevitError
from levit_engines.tensorrt.devices import gpu_or_reason
from levit_engines.tensorrt.flavours import flavour_of, load_library
from levit_engines.tensorrt.order import MODEL, ORDER, PLAN, BuildOrder, failure_event
from levit_engines.tensorrt.planning import Planner


class Events:
    """Events on a file, one a line; safe to use from the threads of a build."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._lock = threading.Lock()

    def send(self, event: str, **content: Any) -> None:
        """Tell the other process."""
        self.send_object({"event": event, **content})

    def send_object(self, document: Mapping[str, Any]) -> None:
        """Tell it what was already put into words."""
        with self._lock:
            self._file.write(json.dumps(document) + "\n")
            self._file.flush()


def main(folder: Path) -> int:
    """Build what the order in `folder` asks for; 0, also when an error of ours was told."""
    # Ctrl-C reaches both processes: the other one decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    events = Events(_take_stdout())
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        _build(folder, events)
    except LevitError as error:
        events.send_object(failure_event(error))
    return 0


def _build(folder: Path, events: Events) -> None:
    order = BuildOrder.from_text((folder / ORDER).read_text(encoding="utf-8"))
    flavour = flavour_of(order.engine)
    library = load_library(flavour)
    gpu, missing = gpu_or_reason(flavour.extra)
    plan, outcome = Planner(library, flavour, gpu, missing).build(
        (folder / MODEL).read_bytes(),
        order,
        on_network=lambda record: events.send("network", record=record),
        on_progress=lambda phase, done, total: events.send("progress", phase=phase, done=done, total=total),
    )
    try:
        (folder / PLAN).write_bytes(plan)
    except OSError as error:
        raise EnvironmentIncompleteError(f"{folder}: the plan cannot be written ({error.strerror})") from error
    events.send("built", outcome=outcome.to_json())


def _take_stdout() -> IO[str]:
    """Stdout for events alone: what the library prints goes to stderr from here on."""
    file = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return file


def _die_with_parent() -> None:
    """End this process when the other end of stdin is closed: by the other process, or by its death."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

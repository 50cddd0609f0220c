"""Running the child: its events as they come, its death as an error of ours, and no child left behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from levit_deploy.errors import ExportError
from levit_engines.tensorrt.order import failure_of

COMMAND = (sys.executable, "-m", "levit_engines.tensorrt.child")
TIMEOUT_S = 3600.0
_ERRORS_FILE = "stderr.txt"


def run_child(
    folder: Path, *, command: tuple[str, ...] = COMMAND, timeout_s: float = TIMEOUT_S
) -> Generator[Mapping[str, Any], None, None]:
    """The events of a child that works on `folder`; it is killed when whoever reads them stops, for any reason.

    Raises ExportError when it crashes, says nothing of its result or takes too long, and what it says went wrong.
    """
    with (folder / _ERRORS_FILE).open("wb") as errors:
        # In `folder`, so that it imports no stray file of the user's.
        child = subprocess.Popen(
            (*command, str(folder)), cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    expired = threading.Event()
    timer = threading.Timer(timeout_s, _expire, (child, expired))
    timer.start()
    built = False
    try:
        for event in _events(child.stdout):
            if event["event"] == "failure":
                raise failure_of(event)
            built = built or event["event"] == "built"
            yield event
        code = child.wait()
    finally:
        timer.cancel()
        _end(child)
    if expired.is_set():
        raise ExportError(f"the build did not finish within {timeout_s:g} s and was ended")
    if code or not built:
        raise ExportError(f"the build {_death(code)}: {_last_words(folder / _ERRORS_FILE)}")


def _events(stream: IO[str] | None) -> Iterator[dict[str, Any]]:
    for line in stream or ():
        try:
            event = json.loads(line)
        except ValueError:
            continue  # cut off by a crash, which is told by the exit status
        if isinstance(event, dict) and "event" in event:
            yield event


def _expire(child: subprocess.Popen[str], expired: threading.Event) -> None:
    expired.set()
    child.kill()


def _end(child: subprocess.Popen[str]) -> None:
    child.kill()  # nothing, when it has ended
    for stream in (child.stdin, child.stdout):
        if stream is not None:
            stream.close()
    child.wait()


def _death(code: int) -> str:
    if code >= 0:
        return f"ended with status {code}" if code else "ended without a result"
    meaning = " (often a lack of memory)" if -code == signal.SIGKILL else ""
    return f"crashed (signal {-code}, {signal.strsignal(-code)}){meaning}"


def _last_words(file: Path) -> str:
    lines = file.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "no message")

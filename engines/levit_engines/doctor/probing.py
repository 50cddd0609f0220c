"""Probes in processes of their own: as many at once as there are CPUs, each with its time, none able to end us."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from levit_deploy.progress import Observer
from levit_engines.doctor.messages import one_line
from levit_engines.doctor.probe import BUILD, STAGES, START, Outcome, Probe, ProbeTask

CHILD = "from levit_engines.doctor.child import main; main()"
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class _Running:
    task: ProbeTask
    process: subprocess.Popen[bytes]
    folder: Path
    start_s: float


def run_probes(
    tasks: Sequence[ProbeTask], *, at_once: int, observer: Observer | None = None, child: str = CHILD
) -> tuple[Probe, ...]:
    """Try each task; results in the order of `tasks`. `child` is the Python code that a process runs.

    Whatever the processes write goes to temporary folders, and both are gone when this returns or raises.
    """
    waiting, probes = list(tasks), dict[str, Probe]()
    running: list[_Running] = []
    with tempfile.TemporaryDirectory(prefix="levit-doctor-", ignore_cleanup_errors=True) as folder:
        try:
            while waiting or running:
                while waiting and len(running) < at_once:
                    task = waiting.pop(0)
                    running.append(_start(task, Path(folder, str(len(waiting))), child))
                    if observer is not None:
                        observer.started(task.target)
                for attempt in [attempt for attempt in running if _is_over(attempt)]:
                    probe = probes[attempt.task.target] = _finish(attempt)
                    running.remove(attempt)
                    if observer is not None:
                        observer.finished(probe.target, probe.seconds)
                time.sleep(_POLL_S)
        finally:
            for attempt in running:
                _kill(attempt.process)
    return tuple(probes[task.target] for task in tasks)


def _start(task: ProbeTask, folder: Path, child: str) -> _Running:
    temporary = folder / "temporary"
    temporary.mkdir(parents=True)
    # Files, not pipes: a grandchild that lives on would keep a pipe open, and us waiting.
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", child, task.target, str(folder / "record")],
            cwd=temporary,  # first in the child's search path: a torch.py of the user's folder must not be imported
            env=_environment(temporary),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return _Running(task, process, folder, time.perf_counter())


def _environment(temporary: Path) -> dict[str, str]:
    """Ours, with every cache that an engine may write in the temporary folder."""
    path = os.environ.get("PYTHONPATH", "")
    absolute = os.pathsep.join(str(Path(entry).absolute()) for entry in path.split(os.pathsep) if entry)
    return {
        **os.environ,
        **({"PYTHONPATH": absolute} if absolute else {}),
        "TMPDIR": str(temporary),
        "TORCHINDUCTOR_CACHE_DIR": str(temporary / "inductor"),
        "TRITON_CACHE_DIR": str(temporary / "triton"),
        "CUDA_CACHE_PATH": str(temporary / "cuda"),
        # A pool of compiling processes would outlive a probe that is killed, and has nothing to share out here.
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
    }


def _is_over(attempt: _Running) -> bool:
    return attempt.process.poll() is not None or _seconds(attempt) > attempt.task.timeout_s


def _finish(attempt: _Running) -> Probe:
    seconds = _seconds(attempt)
    is_hanging = attempt.process.poll() is None
    _kill(attempt.process)
    stages, end = _read_record(attempt.folder / "record")
    stage = stages[-1] if stages else START
    outcome, reason = Outcome.PASSED, ""
    if is_hanging:
        outcome, reason = Outcome.TIMED_OUT, f"no answer within {attempt.task.timeout_s:g} s while {stage}"
    elif "failed" in end:
        outcome, reason = Outcome.FAILED, one_line(str(end["failed"]))
    elif end.get("passed") is not True:
        ending = _ending(attempt.process.returncode)
        outcome, reason = Outcome.CRASHED, f"the process {ending} while {stage}{_last_words(attempt.folder)}"
    return Probe(
        target=attempt.task.target,
        module=attempt.task.module,
        outcome=outcome,
        stage=stage,
        reason=reason,
        built=BUILD in stages and stage != BUILD,
        seconds=seconds,
    )


def _read_record(path: Path) -> tuple[list[str], dict[str, Any]]:
    """The stages that were begun, and the last entry where the attempt came to an end of its own."""
    entries: list[dict[str, Any]] = []
    with suppress(OSError, ValueError):
        entries.extend(json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    entries = [entry for entry in entries if isinstance(entry, dict)]
    stages = [entry["stage"] for entry in entries if entry.get("stage") in STAGES]
    end = entries[-1] if entries and "stage" not in entries[-1] else {}
    return stages, end


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    with suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"


def _last_words(folder: Path) -> str:
    """The last line that the process printed, which mostly says what happened."""
    output = (folder / "output").read_text(encoding="utf-8", errors="replace").strip()
    return f": {one_line(output.splitlines()[-1])}" if output else ""


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the process and all that it started, and wait for it."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _seconds(attempt: _Running) -> float:
    return time.perf_counter() - attempt.start_s

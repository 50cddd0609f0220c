"""What a process costs on this machine, and what every result file says of where it was measured."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from levit_deploy.errors import LevitError
from levit_deploy.machine import describe_machine, package_versions

_RSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024


class BenchmarkError(LevitError):
    """What was to be measured failed, or reported what cannot be a measurement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessCost:
    """What one process took; `cpu_s` is user and system time.

    `peak_rss_bytes` is the kernel's ru_maxrss: the largest resident set, shared pages included, of any one
    process among it and the children it waited for (not their sum).
    """

    wall_s: float
    cpu_s: float
    peak_rss_bytes: int
    stdout: str
    stderr: str


def run_measured(command: Sequence[str], folder: Path) -> ProcessCost:
    """Run `command` in `folder` to its end; a BenchmarkError with its last words if it fails.

    The kernel counts the memory of the caller before the exec as the child's: call this from a small process.
    """
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        start_ns = time.perf_counter_ns()
        child = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr)
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            child.kill()
            child.wait()
            raise
        wall_s = (time.perf_counter_ns() - start_ns) / 1e9
        child.returncode = os.waitstatus_to_exitcode(status)
        stdout.seek(0)
        stderr.seek(0)
        said = stderr.read().decode(errors="replace")
        if child.returncode:
            raise BenchmarkError(f"{shlex.join(command)}: exit code {child.returncode}: {said.strip()[-1000:]}")
        return ProcessCost(
            wall_s=wall_s,
            cpu_s=usage.ru_utime + usage.ru_stime,
            peak_rss_bytes=usage.ru_maxrss * _RSS_UNIT_BYTES,
            stdout=stdout.read().decode(),
            stderr=said,
        )


def environment(packages: Iterable[str]) -> dict[str, Any]:
    """What every result file begins with: when, where, and with which versions it was measured."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": describe_machine().to_json(),
        "packages": package_versions(packages),
        "revision": source_revision(),
    }


def source_revision() -> str | None:
    """Git revision of the source tree this file is in, ending in "-dirty" if changed; None outside of one."""
    here = Path(__file__)
    # A virtual environment may lie in somebody else's repository, whose revision would say nothing.
    if _git(here.parent, "ls-files", "--error-unmatch", here.name) is None:
        return None
    return _git(here.parent, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip() or None

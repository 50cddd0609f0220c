"""The machine that a measurement runs on, and what a process costs there.

A description holds what explains figures, and nothing that names the machine, its user or its paths.
"""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from levit_deploy.errors import LevitError
from levit_deploy.onnxruntime_session import available_threads

CPU_INFORMATION = Path("/proc/cpuinfo")
# What decides which kernels an engine can choose; x86 first, then ARM.
RELEVANT_FLAGS = (
    *("avx", "fma", "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_int8", "amx_bf16", "amx_fp16"),
    *("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2"),
)
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
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
        if child.returncode:
            last_words = stderr.read().decode(errors="replace").strip()[-1000:]
            raise BenchmarkError(f"{shlex.join(command)}: exit code {child.returncode}: {last_words}")
        return ProcessCost(
            wall_s=wall_s,
            cpu_s=usage.ru_utime + usage.ru_stime,
            peak_rss_bytes=usage.ru_maxrss * _RSS_UNIT_BYTES,
            stdout=stdout.read().decode(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """`usable_cpus` respects affinity and cgroup quota; `thread_variables` are those of the environment."""

    cpu: str
    cpu_flags: tuple[str, ...]
    logical_cpus: int
    usable_cpus: int
    memory_bytes: int
    system: str
    kernel: str
    architecture: str
    python: str
    thread_variables: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)


def describe_machine() -> Machine:
    """The machine that this process runs on."""
    cpu, flags = _parse_cpu_information(_read_cpu_information())
    return Machine(
        cpu=cpu or platform.machine(),
        cpu_flags=flags,
        logical_cpus=os.cpu_count() or 1,
        usable_cpus=available_threads(),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        system=_system_name(),
        kernel=f"{platform.system()} {platform.release()}",
        architecture=platform.machine(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        thread_variables={name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ},
    )


def environment(packages: Iterable[str]) -> dict[str, Any]:
    """What every result file begins with: when, where, and with which versions it was measured."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": describe_machine().to_json(),
        "packages": package_versions(packages),
        "revision": source_revision(),
    }


def package_versions(names: Iterable[str]) -> dict[str, str | None]:
    """Versions of installed distributions, without importing them; None for one that is not installed."""
    return {name: _version(name) for name in names}


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


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _read_cpu_information() -> str:
    try:
        return CPU_INFORMATION.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _parse_cpu_information(text: str) -> tuple[str, tuple[str, ...]]:
    """Name and relevant flags of the first CPU; ARM kernels give "Features" and mostly no name."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    return fields.get("model name", ""), tuple(flag for flag in RELEVANT_FLAGS if flag in flags)


def _system_name() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()

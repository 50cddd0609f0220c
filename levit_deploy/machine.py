"""The machine that a measurement runs on: what explains figures, and nothing that names it, its user or its paths."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from levit_deploy.threads import available_threads

CPU_INFORMATION = Path("/proc/cpuinfo")
# What decides which kernels an engine can choose; x86 first, then ARM.
RELEVANT_FLAGS = (
    *("avx", "fma", "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_int8", "amx_bf16", "amx_fp16"),
    *("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2"),
)
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


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


def package_versions(names: Iterable[str]) -> dict[str, str | None]:
    """Versions of installed distributions, without importing them; None for one that is not installed."""
    return {name: _version(name) for name in names}


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

"""How many threads this process may keep busy, by CPU affinity and cgroup."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path


def available_threads() -> int:
    """How many threads this process may keep busy: its CPU affinity, or less where a cgroup quota says so."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_cpu_quota(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))
    return max(1, math.ceil(min(allowed, quota)))


def cgroup_cpu_quota(membership: Path, mount: Path) -> float:
    """CPUs that the tightest cgroup around this process allows; infinity where there is no limit.

    Reads version 2 (`cpu.max`) and version 1 (`cpu.cfs_quota_us`); `membership` is /proc/self/cgroup and
    `mount` /sys/fs/cgroup. In a container the path may not exist below the mount: then its parents count.
    """
    folders = [folder for line in _lines(membership) for folder in _cgroup_folders(line, mount)]
    return min((_folder_quota(folder) for folder in folders), default=math.inf)


def _cgroup_folders(line: str, mount: Path) -> Iterator[Path]:
    """The folders that a line "id:controllers:path" of /proc/self/cgroup means, up to the mount's root."""
    _, _, rest = line.partition(":")
    controllers, _, path = rest.partition(":")
    if controllers and "cpu" not in controllers.split(","):
        return
    roots = (mount, mount / "unified") if not controllers else (mount / controllers, mount / "cpu")
    inner = Path(path.lstrip("/"))
    for root in roots:
        yield from (root / folder for folder in (inner, *inner.parents))


def _folder_quota(folder: Path) -> float:
    version2 = " ".join(_lines(folder / "cpu.max"))
    version1 = " ".join([*_lines(folder / "cpu.cfs_quota_us"), *_lines(folder / "cpu.cfs_period_us")])
    for text in (version2, version1):
        quota, _, period = text.partition(" ")
        # "max" and "-1" mean that there is no limit.
        if quota.isdecimal() and period.isdecimal() and int(quota) > 0 and int(period) > 0:
            return int(quota) / int(period)
    return math.inf


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []

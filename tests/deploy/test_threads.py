"""How many threads a process may keep busy: affinity, and the quotas of cgroups of both versions."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from levit_deploy import threads
from levit_deploy.threads import available_threads, cgroup_cpu_quota

QUOTAS = {
    "no file": ("0::/a/b", {}, math.inf),
    "v2": ("0::/a/b", {"a/b/cpu.max": "150000 100000"}, 1.5),
    "v2 unlimited": ("0::/a/b", {"a/b/cpu.max": "max 100000"}, math.inf),
    "v2 parent is tighter": ("0::/a/b", {"a/b/cpu.max": "400000 100000", "a/cpu.max": "200000 100000"}, 2.0),
    "v2 path seen from outside": ("0::/docker/x", {"cpu.max": "50000 100000"}, 0.5),
    "v2 beside v1": ("0::/a", {"unified/a/cpu.max": "300000 100000"}, 3.0),
    "v1": (
        "4:cpu,cpuacct:/a",
        {"cpu/a/cpu.cfs_quota_us": "250000", "cpu/a/cpu.cfs_period_us": "100000"},
        2.5,
    ),
    "v1 joint mount": (
        "4:cpu,cpuacct:/a",
        {"cpu,cpuacct/a/cpu.cfs_quota_us": "50000", "cpu,cpuacct/a/cpu.cfs_period_us": "100000"},
        0.5,
    ),
    "v1 unlimited": ("1:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, math.inf),
    "v1 without period": ("1:cpu:/", {"cpu/cpu.cfs_quota_us": "1000"}, math.inf),
    "another controller": ("4:cpuset:/a", {"cpuset/a/cpu.max": "1 1"}, math.inf),
    "nonsense": ("zero\n0::/a", {"a/cpu.max": "many few more"}, math.inf),
    "period zero": ("0::/a", {"a/cpu.max": "1000 0"}, math.inf),
}


@pytest.mark.parametrize(("membership", "files", "expected"), QUOTAS.values(), ids=QUOTAS.keys())
def test_cgroup_quota(membership: str, files: dict[str, str], expected: float, tmp_path: Path) -> None:
    for name, text in {"self": membership, **files}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert cgroup_cpu_quota(tmp_path / "self", tmp_path) == expected


@pytest.mark.parametrize(("quota", "expected"), [(0.2, 1), (1.5, 2), (4.0, 4), (math.inf, 8)])
def test_threads_round_the_quota_up_within_the_affinity(
    quota: float, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(threads, "cgroup_cpu_quota", lambda *_: quota)
    assert available_threads() == expected

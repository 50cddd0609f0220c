"""The machine while a round runs: how busy others keep it, what the hypervisor takes, how fast it is clocked."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from levit_benchmarks.bench.record import Conditions

STATISTICS = Path("/proc/stat")
CPU_FOLDER = Path("/sys/devices/system/cpu")
# Of a line "cpu0 user nice system idle iowait irq softirq steal guest guest_nice"; guests are within user and nice.
_BUSY, _STEAL, _COUNTED = (0, 1, 2, 5, 6), 7, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuTimes:
    """Seconds that the CPUs spent since they started, added up over them."""

    busy_s: float
    stolen_s: float
    total_s: float


def allowed_cpus() -> frozenset[int]:
    """The CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def cpu_times(cpus: Collection[int], statistics: Path = STATISTICS) -> CpuTimes | None:
    """What the kernel has counted for `cpus`; None where it says nothing."""
    try:
        lines = statistics.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    names, tick_s = {f"cpu{cpu}" for cpu in cpus}, 1.0 / os.sysconf("SC_CLK_TCK")
    rows = [[int(word) for word in line.split()[1:]] for line in lines if line.partition(" ")[0] in names]
    rows = [row for row in rows if len(row) >= _COUNTED]
    if not rows:
        return None
    return CpuTimes(
        busy_s=tick_s * sum(row[column] for row in rows for column in _BUSY),
        stolen_s=tick_s * sum(row[_STEAL] for row in rows),
        total_s=tick_s * sum(sum(row[:_COUNTED]) for row in rows),
    )


def mean_frequency_mhz(cpus: Collection[int], folder: Path = CPU_FOLDER) -> float | None:
    """The mean of what cpufreq says of `cpus`; None where it says nothing, as in most virtual machines."""
    try:
        kilohertz = [int((folder / f"cpu{cpu}/cpufreq/scaling_cur_freq").read_text(encoding="ascii")) for cpu in cpus]
    except (OSError, ValueError):
        return None
    return sum(kilohertz) / len(kilohertz) / 1000


class ConditionsMeter:
    """Measures from where it is made to `read`; both are told how much CPU time our own processes have taken."""

    def __init__(self, own_cpu_s: float, statistics: Path = STATISTICS) -> None:
        self._statistics, self._cpus = statistics, allowed_cpus()
        self._own_cpu_s, self._start_s = own_cpu_s, time.perf_counter()
        self._times = cpu_times(self._cpus, statistics)

    def read(self, own_cpu_s: float, frequencies_mhz: Sequence[float]) -> Conditions:
        """What held since; the frequencies are those that the timed processes read."""
        before, after = self._times, cpu_times(self._cpus, self._statistics)
        elapsed_s = time.perf_counter() - self._start_s
        steal = other_load = None
        if before is not None and after is not None and after.total_s > before.total_s and elapsed_s > 0:
            steal = (after.stolen_s - before.stolen_s) / (after.total_s - before.total_s)
            others_s = (after.busy_s - before.busy_s) - (own_cpu_s - self._own_cpu_s)
            other_load = max(0.0, others_s / elapsed_s)
        return Conditions(
            load_average=os.getloadavg()[0],
            steal=steal,
            other_load=other_load,
            frequency_mhz=sum(frequencies_mhz) / len(frequencies_mhz) if frequencies_mhz else None,
        )

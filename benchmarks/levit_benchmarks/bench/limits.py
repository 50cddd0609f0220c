"""What this machine can do at most: the GEMM peak by precision, and the memory bandwidth, each in a process of its own.

A peak is a maximum: the best single call of many short ones counts, not their mean. Of several libraries the fastest
counts. No kernel of a network does better than a GEMM of a good shape, so a share of this peak says what is left.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from types import MappingProxyType

from levit_benchmarks.bench.process import child_environment
from levit_benchmarks.bench.record import MachineLimit
from levit_benchmarks.machine import BenchmarkError
from levit_deploy.machine import THREAD_VARIABLES
from levit_deploy.messages import short_message

BANDWIDTH = "bandwidth"
TIMEOUT_S = 120.0
_MODULE = "levit_benchmarks.bench.limit_kernels"
_TITLES = {
    "numpy-fp32": "matmul of NumPy",
    "onnxruntime-fp32": "MatMul of ONNX Runtime",
    "onnxruntime-int8": "MatMulInteger (uint8 x int8) of ONNX Runtime",
    "copy": "copy of NumPy, each byte read and written counted once",
}
_KERNELS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"fp32": ("numpy-fp32", "onnxruntime-fp32"), "int8": ("onnxruntime-int8",)}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """The best call of one kernel: operations or bytes a second, and of what; `busy_cpus` is the mean of all calls."""

    kernel: str
    rate: float
    work: str
    calls: int
    busy_cpus: float

    @property
    def method(self) -> str:
        """How it was found, for a reader."""
        return f"{_TITLES[self.kernel]}, {self.work}: best of {self.calls} calls, {self.busy_cpus:.1f} CPUs busy"


def measure_limits(threads: int, precisions: Collection[str]) -> MachineLimit:
    """The limits for `threads`; "fp32" and "int8" of the precisions have a peak, others are left out.

    Takes about ten seconds, and wants the machine for itself. Raises BenchmarkError when a kernel fails.
    """
    peaks = {
        precision: max((measure_peak(kernel, threads) for kernel in _available(kernels)), key=lambda peak: peak.rate)
        for precision, kernels in _KERNELS.items()
        if precision in precisions and _available(kernels)
    }
    copy = measure_peak("copy", threads)
    return MachineLimit(
        threads=threads,
        flops={precision: peak.rate for precision, peak in peaks.items()},
        bytes_s=copy.rate,
        method={precision: peak.method for precision, peak in peaks.items()} | {BANDWIDTH: copy.method},
    )


def measure_peak(kernel: str, threads: int) -> Peak:
    """The peak of one kernel with `threads`, in a new process. Raises BenchmarkError when it fails."""
    command = (sys.executable, "-m", _MODULE, kernel, str(threads))
    environment = {**child_environment(), **dict.fromkeys(THREAD_VARIABLES, str(threads))}
    try:
        # In a folder of its own, so that it imports no stray file of the user's.
        with tempfile.TemporaryDirectory(prefix="levit-bench-") as folder:
            done = subprocess.run(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                check=True,
            )
    except subprocess.CalledProcessError as error:
        last_words = short_message(error.stderr.strip().rpartition("\n")[2])
        raise BenchmarkError(f"the limit of {kernel} cannot be measured: {last_words}") from error
    except subprocess.TimeoutExpired as error:
        raise BenchmarkError(f"the limit of {kernel} was not found within {TIMEOUT_S:g} s") from error
    return Peak(kernel=kernel, **json.loads(done.stdout))


def _available(kernels: tuple[str, ...]) -> list[str]:
    """Those whose library is installed; NumPy always is."""
    return [kernel for kernel in kernels if not kernel.startswith("onnxruntime") or find_spec("onnxruntime")]

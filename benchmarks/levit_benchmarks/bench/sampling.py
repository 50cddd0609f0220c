"""Timed calls, one after the other, and nothing else between them."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Latencies of the calls; start and end on the clock that all processes of a machine share.

    `gpu_ns` is what the GPU itself took for each, where it says so, else empty.
    """

    latencies_ns: tuple[int, ...]
    gpu_ns: tuple[int, ...]
    start_ns: int
    end_ns: int
    cpu_ns: int


def run_calls(
    call: Callable[[], object], *, seconds: float, count: int, read_gpu_ns: Callable[[], int | None] = lambda: None
) -> Sample:
    """Call at least `count` times and at least for `seconds`, without garbage collection meanwhile.

    `read_gpu_ns` is asked after each call. `cpu_ns` is what all threads of this process took.
    """
    clock, latencies, gpu = time.perf_counter_ns, list[int](), list[int]()
    gc.collect()
    gc.disable()
    try:
        cpu_ns = time.process_time_ns()
        start_ns = clock()
        until_ns = start_ns + round(seconds * 1e9)
        end_ns = start_ns
        while end_ns < until_ns or len(latencies) < count:
            before_ns = clock()
            call()
            end_ns = clock()
            latencies.append(end_ns - before_ns)
            if (gpu_ns := read_gpu_ns()) is not None:
                gpu.append(gpu_ns)
        cpu_ns = time.process_time_ns() - cpu_ns
    finally:
        gc.enable()
    return Sample(latencies_ns=tuple(latencies), gpu_ns=tuple(gpu), start_ns=start_ns, end_ns=end_ns, cpu_ns=cpu_ns)

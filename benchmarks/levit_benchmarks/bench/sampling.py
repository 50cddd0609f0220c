"""Timed calls, one after the other, and nothing else between them."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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
    call: Callable[[], object],
    *,
    seconds: float,
    count: int,
    callers: int = 1,
    read_gpu_ns: Callable[[], int | None] = lambda: None,
) -> Sample:
    """Call at least `count` times and at least for `seconds`, without garbage collection meanwhile.

    So does each of `callers` threads, all of them at the same time. `read_gpu_ns` is asked after each call. `cpu_ns` is
    what all threads of this process took.
    """
    at_once = threading.Barrier(callers)

    def call_on(_: int) -> _Calls:
        at_once.wait()
        return _call_one_after_the_other(call, seconds=seconds, count=count, read_gpu_ns=read_gpu_ns)

    gc.collect()
    gc.disable()
    try:
        cpu_ns = time.process_time_ns()
        if callers == 1:
            all_calls = [call_on(0)]
        else:
            with ThreadPoolExecutor(callers) as pool:
                all_calls = list(pool.map(call_on, range(callers)))
        cpu_ns = time.process_time_ns() - cpu_ns
    finally:
        gc.enable()
    return Sample(
        latencies_ns=tuple(latency for calls in all_calls for latency in calls.latencies_ns),
        gpu_ns=tuple(gpu_ns for calls in all_calls for gpu_ns in calls.gpu_ns),
        start_ns=min(calls.start_ns for calls in all_calls),
        end_ns=max(calls.end_ns for calls in all_calls),
        cpu_ns=cpu_ns,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Calls:
    """Those of one thread."""

    latencies_ns: list[int]
    gpu_ns: list[int]
    start_ns: int
    end_ns: int


def _call_one_after_the_other(
    call: Callable[[], object], *, seconds: float, count: int, read_gpu_ns: Callable[[], int | None]
) -> _Calls:
    clock, latencies, gpu = time.perf_counter_ns, list[int](), list[int]()
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
    return _Calls(latencies_ns=latencies, gpu_ns=gpu, start_ns=start_ns, end_ns=end_ns)

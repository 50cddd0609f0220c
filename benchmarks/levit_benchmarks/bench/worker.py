"""The process in which one candidate is opened, checked and timed; levit-bench drives it (process.py).

Requests come in on stdin, replies go out on what was stdout. Native libraries print to file descriptor 1, so that one
leads to stderr from the start.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

from levit_benchmarks.bench.conditions import allowed_cpus, mean_frequency_mhz
from levit_benchmarks.bench.protocol import COLD_START, END_TO_END, PREPARE, TIME, encode, failure, order_from_json
from levit_benchmarks.bench.subject import GpuTimed, Order, Peer, SideBySide, Subject
from levit_deploy.errors import ConfigError
from levit_deploy.onnxruntime_session import disable_telemetry

Reply = Callable[[Mapping[str, Any]], None]
COLD_STAGES = ("interpreter", "import", "load", "first answer")
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG


def main() -> int:
    """Do the job that the first line of stdin orders; the exit status is 1 when it failed."""
    stream = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _die_with_parent()
    disable_telemetry()

    def reply(message: Mapping[str, Any]) -> None:
        stream.write(encode(message))
        stream.flush()

    try:
        job = json.loads(sys.stdin.readline())
        _JOBS[job["job"]](order_from_json(job["order"]), job, reply)
    except Exception as error:
        traceback.print_exc()
        reply(failure(error))
        return 1
    return 0


def find_peer(name: str) -> Peer:
    """The peer that is called `name`, or, where that has a dot, the PEER of the module with this name.

    Raises ConfigError when there is none.
    """
    if "." not in name:
        from levit_benchmarks.peers.registry import load_peer

        return load_peer(name)
    try:
        peer: Peer = importlib.import_module(name).PEER
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{name} is no module with a PEER ({error})") from error
    return peer


def open_subject(order: Order) -> Subject:
    """What `order` asks for."""
    if order.peer:
        return find_peer(order.peer).open_subject(order)
    from levit_benchmarks.bench.engine_subject import EngineSubject

    return EngineSubject(order)


def import_engine(order: Order) -> None:
    """Load the library that `order` runs on."""
    if order.peer:
        find_peer(order.peer).import_engine(order)
        return
    from levit_benchmarks.bench import engine_subject

    engine_subject.import_engine(order.engine)


def peak_memory_bytes(status: Path = Path("/proc/self/status")) -> int:
    """The largest resident set of this process since it started its program."""
    # VmHWM, not ru_maxrss: that one counts what the parent held when this process was forked from it.
    for line in status.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{status} has no VmHWM")


def _time(order: Order, _: Mapping[str, Any], reply: Reply) -> None:
    from levit_benchmarks.bench.sampling import run_calls

    subject = open_subject(order)
    candidate, images = subject.check(), subject.images()

    def call() -> object:
        return subject.infer(images)

    def read_gpu_ns() -> int | None:
        return subject.gpu_ns() if isinstance(subject, GpuTimed) else None

    reply({"candidate": asdict(candidate), "side_by_side": isinstance(subject, SideBySide) and subject.side_by_side})
    for request in _requests(sys.stdin):
        if request["request"] == "calls":
            sample = run_calls(
                call,
                seconds=request["seconds"],
                count=request["count"],
                callers=request["callers"],
                read_gpu_ns=read_gpu_ns,
            )
            # At once, while the clock is still that of the calls; in the parent all candidates would be frozen.
            reply(asdict(sample) | {"frequency_mhz": mean_frequency_mhz(allowed_cpus())})
        elif request["request"] == "memory":
            reply({"peak_rss_bytes": peak_memory_bytes()})
        else:
            raise ValueError(f"no request {request['request']!r}")
    subject.close()
    reply({})


def _prepare(order: Order, _: Mapping[str, Any], reply: Reply) -> None:
    from levit_deploy.commandline import require_packages

    peer = find_peer(order.peer)
    require_packages(dict.fromkeys(peer.packages, "bench"), purpose=f"the peer {peer.name}")
    if order.folder is not None:
        peer.prepare(order, order.folder)
    reply({})


def _cold_start(order: Order, job: Mapping[str, Any], reply: Reply) -> None:
    """Seconds from the start of this process until the engine is imported, has the network, and has answered once."""
    times_ns = [int(job["spawned_ns"]), time.perf_counter_ns()]
    import_engine(order)
    times_ns.append(time.perf_counter_ns())
    subject = open_subject(order)
    times_ns.append(time.perf_counter_ns())
    images = subject.images()
    asked_ns = time.perf_counter_ns()
    subject.infer(images)
    answered_ns = time.perf_counter_ns()
    spans_ns = [after - before for before, after in pairwise(times_ns)] + [answered_ns - asked_ns]
    stages = dict(zip(COLD_STAGES, (span_ns / 1e9 for span_ns in spans_ns), strict=True))
    reply({"stages": stages, "candidate": asdict(subject.check())})
    subject.close()


def _end_to_end(order: Order, _: Mapping[str, Any], reply: Reply) -> None:
    from levit_benchmarks.bench.end_to_end import time_photographs

    candidate, photographs = time_photographs(order)
    reply({"candidate": asdict(candidate), "photographs": photographs})


_JOBS: Mapping[str, Callable[[Order, Mapping[str, Any], Reply], None]] = {
    TIME: _time,
    PREPARE: _prepare,
    COLD_START: _cold_start,
    END_TO_END: _end_to_end,
}


def _requests(stream: IO[str]) -> Iterator[dict[str, Any]]:
    for line in iter(stream.readline, ""):
        yield json.loads(line)


def _die_with_parent() -> None:
    """Ask the kernel to kill this process when levit-bench dies: a frozen process would stay for ever."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:  # it died just before
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main())

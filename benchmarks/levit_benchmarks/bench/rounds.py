"""Rounds: every candidate in turn, all others frozen meanwhile.

Idle thread pools spin for tens of milliseconds and would take the CPUs from whoever is timed, so every process is
stopped until its turn comes; then it makes some untimed calls first. Where its memory lies is a process's luck, worth
a percent or two as long as it lives, so the rounds are shared by several of each candidate.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TypeVar

from levit_benchmarks.bench.conditions import ConditionsMeter
from levit_benchmarks.bench.process import OPEN_TIMEOUT_S, REPLY_TIMEOUT_S, Worker
from levit_benchmarks.bench.protocol import candidate_from_json
from levit_benchmarks.bench.record import Burst, Candidate, Round, Sessions
from levit_benchmarks.bench.subject import Order
from levit_benchmarks.machine import BenchmarkError

T = TypeVar("T")
WARM_UP_S, WARM_UP_CALLS = 1.0, 3
WAKE_UP_S, WAKE_UP_CALLS = 0.1, 1
SLOWEST_CALL_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BurstLength:
    """A burst lasts at least `seconds` and has at least `count` calls of every caller of every session."""

    seconds: float
    count: int


class Crew:
    """The processes of one candidate: one for each of its sessions. Frozen except within a burst."""

    candidate: Candidate

    def __init__(self, order: Order, sessions: int, *, callers: int = 1) -> None:
        """Open, check and warm up every session, one after the other. Raises what a worker raises."""
        self.sessions = Sessions(sessions=sessions, threads=order.threads, callers=callers)
        self.side_by_side = False
        """Whether a session of it serves several callers at the same time."""
        self.frequencies_mhz: tuple[float, ...] = ()
        """What the clocks were at the end of its last calls; none where they cannot be read."""
        self._order = order
        self._workers: list[Worker] = []
        self._earlier_peak_rss_bytes = 0
        self.candidate = self._open()

    def renew(self) -> None:
        """End its processes and open others in their place. Raises BenchmarkError when those time another file."""
        self._earlier_peak_rss_bytes = self.peak_rss_bytes()
        self.close()
        if self._open().timed_sha256 != self.candidate.timed_sha256:
            raise BenchmarkError(f"{self.name}: its files changed while it was timed; run again")

    @property
    def name(self) -> str:
        """The candidate's."""
        return self.candidate.name

    @property
    def sessions_text(self) -> str:
        """How it uses its threads, for a person."""
        callers = f" with {self.sessions.callers} callers" if self.sessions.callers > 1 else ""
        return f"{self.sessions.sessions} x {self.sessions.threads} threads{callers}"

    def burst(self, length: BurstLength) -> Burst:
        """Wake all sessions, time their calls at the same time, and freeze them again."""
        for worker in self._workers:
            worker.thaw()
        self._calls(BurstLength(seconds=WAKE_UP_S, count=WAKE_UP_CALLS))
        burst = self._calls(length)
        for worker in self._workers:
            worker.freeze()
        return burst

    def peak_rss_bytes(self) -> int:
        """The largest resident sets of its processes at one time, added up; what they share is counted for each."""
        total = 0
        for worker in self._workers:
            worker.thaw()
            worker.ask("memory")
            total += int(worker.reply()["peak_rss_bytes"])
            worker.freeze()
        return max(total, self._earlier_peak_rss_bytes)

    def cpu_s(self) -> float:
        """CPU time that its processes have taken so far."""
        return sum(worker.cpu_s() for worker in self._workers)

    def close(self) -> None:
        """End its processes."""
        for worker in self._workers:
            worker.close()
        self._workers = []

    def __enter__(self) -> Crew:  # noqa: PYI034 (Python 3.10 has no typing.Self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> Candidate:
        try:
            for _ in range(self.sessions.sessions):
                worker = Worker(self._order)
                self._workers.append(worker)
                opened = worker.reply(OPEN_TIMEOUT_S)
                candidate, self.side_by_side = candidate_from_json(opened["candidate"]), bool(opened["side_by_side"])
                worker.ask("calls", seconds=WARM_UP_S, count=WARM_UP_CALLS, callers=self.sessions.callers)
                worker.reply()
                worker.freeze()
        except BaseException:
            self.close()
            raise
        return candidate

    def _calls(self, length: BurstLength) -> Burst:
        for worker in self._workers:
            worker.ask("calls", seconds=length.seconds, count=length.count, callers=self.sessions.callers)
        timeout_s = REPLY_TIMEOUT_S + length.seconds + length.count * SLOWEST_CALL_S
        samples = [worker.reply(timeout_s) for worker in self._workers]
        read = (sample["frequency_mhz"] for sample in samples)
        self.frequencies_mhz = tuple(frequency for frequency in read if frequency is not None)
        return Burst(
            latencies_ns=tuple(latency for sample in samples for latency in sample["latencies_ns"]),
            wall_ns=max(sample["end_ns"] for sample in samples) - min(sample["start_ns"] for sample in samples),
            cpu_ns=sum(sample["cpu_ns"] for sample in samples),
            gpu_ns=tuple(gpu_ns for sample in samples for gpu_ns in sample["gpu_ns"]),
        )


def turns(names: Sequence[T], number: int) -> tuple[T, ...]:
    """The order of round `number`: every second one backwards, so that nobody always follows the same neighbour."""
    shift = number // 2 % len(names)
    order = (*names[shift:], *names[:shift])
    return order[::-1] if number % 2 else order


def run_rounds(
    crews: Sequence[Crew],
    *,
    rounds: int,
    length: BurstLength,
    processes: int = 1,
    on_step: Callable[[str], None] = lambda _: None,
) -> tuple[Round, ...]:
    """Time every crew in every round; `on_step` is told the name of each that is timed or opened anew.

    Crews are renewed so often that `processes` of them, one after the other, share the rounds: those from
    `rounds * k / processes` on are of the k-th.
    """
    by_name = {crew.name: crew for crew in crews}
    done = []
    for number in range(rounds):
        order = turns(tuple(by_name), number)
        if number and number * processes // rounds != (number - 1) * processes // rounds:
            for name in order:
                by_name[name].renew()
                on_step(name)
        meter, bursts = ConditionsMeter(_own_cpu_s(crews)), {}
        for name in order:
            bursts[name] = by_name[name].burst(length)
            on_step(name)
        frequencies_mhz = [frequency for crew in crews for frequency in crew.frequencies_mhz]
        done.append(Round(bursts=bursts, conditions=meter.read(_own_cpu_s(crews), frequencies_mhz)))
    return tuple(done)


def _own_cpu_s(crews: Sequence[Crew]) -> float:
    return time.process_time() + sum(crew.cpu_s() for crew in crews)

"""Cold start: from starting a process to its first answer, once in every fresh process, which is checked afterwards.

The page cache is warm: one start before those that count reads every file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from levit_benchmarks.bench.process import OPEN_TIMEOUT_S, Worker
from levit_benchmarks.bench.protocol import COLD_START, candidate_from_json
from levit_benchmarks.bench.record import ColdStart
from levit_benchmarks.bench.subject import Order

PAGE_CACHE = "warm: one start that is not counted came before"


def measure_cold_starts(order: Order, count: int, *, on_start: Callable[[], None] = lambda: None) -> ColdStart:
    """`count` fresh processes, one after the other. Raises what a worker raises."""
    replies = []
    for _ in range(count + 1):
        with Worker(order, COLD_START) as worker:
            replies.append(worker.reply(OPEN_TIMEOUT_S))
        on_start()
    candidate = candidate_from_json(replies[-1]["candidate"])
    return ColdStart(
        candidate=replace(candidate, details={**candidate.details, "page cache": PAGE_CACHE}),
        threads=order.threads,
        stages_s=tuple(reply["stages"] for reply in replies[1:]),
    )

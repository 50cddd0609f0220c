"""Cold start: from starting a process to its first answer, which is checked; once in every fresh process.

The page cache is warm: one start before those that count reads every file.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from levit_benchmarks.bench.record import Candidate, ColdStart

if TYPE_CHECKING:
    from levit_benchmarks.bench.subject import Order

PAGE_CACHE = "warm: one start that is not counted came before"


def measure_cold_starts(order: Order, count: int, *, on_start: Callable[[], None] = lambda: None) -> ColdStart:
    """`count` fresh processes, one after the other. Raises what a worker raises."""
    from levit_benchmarks.bench.process import OPEN_TIMEOUT_S, Worker
    from levit_benchmarks.bench.protocol import COLD_START, candidate_from_json

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


def first_answer(order: Order) -> tuple[dict[str, float], Candidate]:
    """In the fresh process: seconds until the engine is imported, has the network, and has answered once.

    "load" is the bundle's graph, and its compilation where the engine compiles when it opens. Raises ParityError where
    the answer is wrong.
    """
    clock = time.perf_counter
    start_s = clock()
    from levit_benchmarks.bench.engine_subject import as_input, bundle_of, candidate_of, import_engine, require_golden
    from levit_engines import open_runner

    import_engine(order.engine)
    imported_s = clock()
    bundle = bundle_of(order)
    with open_runner(bundle, engine=order.engine, threads=order.threads) as runner:
        loaded_s = clock()
        images = as_input(bundle, bundle.golden().images[[0] * order.batch])
        asked_s = clock()
        logits = runner.infer(images)
        answered_s = clock()
        require_golden(bundle, [0] * order.batch, logits, batch=order.batch, stage=order.engine)
        candidate = candidate_of(order, runner, bundle)
    stages = {
        "import": imported_s - start_s,
        "load": loaded_s - imported_s,
        "first answer": answered_s - asked_s,
    }
    return stages, candidate

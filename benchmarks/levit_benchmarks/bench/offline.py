"""Offline: as many images a second as the machine gives, with the best of the ways to share out its threads.

One session with all threads; as many sessions of one thread, each in a process of its own: that is how a server with
workers is deployed, and works alike for every engine (PyTorch has one number of threads for a whole process); or one
session of one thread with as many callers, where it computes for them at the same time: then weights are there once.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from levit_benchmarks.bench.record import Burst, Sessions
from levit_benchmarks.bench.rounds import BurstLength, Crew, turns
from levit_benchmarks.bench.subject import Order

TRIAL_ROUNDS = 5


def open_best_crew(order: Order, length: BurstLength) -> Crew:
    """The crew that gives most images a second in a short trial; its candidate's details say what was tried.

    The trial's rounds are not part of the result: the best of some noisy figures would flatter itself.
    """
    ways = dict.fromkeys((Sessions(sessions=1, threads=order.threads), Sessions(sessions=order.threads, threads=1)))
    with ExitStack() as stack:
        crews = [stack.enter_context(Crew(replace(order, threads=way.threads), way.sessions)) for way in ways]
        if len(crews) > 1 and crews[-1].side_by_side:
            crews.append(stack.enter_context(Crew(replace(order, threads=1), 1, callers=order.threads)))
        rates = _trial(crews, order.batch, length) if len(crews) > 1 else [0.0]
        best = crews[rates.index(max(rates))]
        if len(crews) > 1:
            tried = zip(crews, rates, strict=True)
            listed = "; ".join(f"{crew.sessions_text}, {rate:.4g} images/s" for crew, rate in tried)
            note = f"{best.sessions_text}, the best in a trial: {listed}"
            best.candidate = replace(best.candidate, details={**best.candidate.details, "sessions": note})
        stack.pop_all()
    for crew in crews:
        if crew is not best:
            crew.close()
    return best


def _trial(crews: Sequence[Crew], batch: int, length: BurstLength) -> list[float]:
    """Images a second of each crew."""
    bursts: list[list[Burst]] = [[] for _ in crews]
    for number in range(TRIAL_ROUNDS):
        for index in turns(range(len(crews)), number):
            bursts[index].append(crews[index].burst(length))
    return [images_per_s(mine, batch) for mine in bursts]


def images_per_s(bursts: Sequence[Burst], batch: int) -> float:
    """Over all bursts together."""
    images = batch * sum(len(burst.latencies_ns) for burst in bursts)
    return images / (sum(burst.wall_ns for burst in bursts) / 1e9)

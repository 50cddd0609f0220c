"""The search: every option screened in one burst, then the best few measured in turn, within a time that is given.

Processes, rounds and samples are levit-bench's own: every option is opened in a process of its own and must reproduce
the golden logits before it is timed, and while one is timed all others are frozen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Protocol

from levit_benchmarks.bench.record import Candidate, Conditions, Round, Sessions
from levit_benchmarks.bench.rounds import Crew, run_rounds
from levit_benchmarks.tune.finding import Finding, finding
from levit_benchmarks.tune.goal import Goal
from levit_benchmarks.tune.option import LeftOut, Option
from levit_benchmarks.tune.plan import SCREENING_BURST, SCREENING_SHARE, finalists, plan_rounds
from levit_deploy.errors import LevitError


class Observer(Protocol):
    """Who is told how far the search is."""

    def advance(self, work: int, description: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Options that were timed in the same rounds: their candidates and memory by name, in order."""

    options: tuple[Option, ...]
    candidates: tuple[Candidate, ...]
    peak_rss_bytes: dict[str, int]
    rounds: tuple[Round, ...]

    def sessions(self) -> dict[str, Sessions]:
        """How each used its threads."""
        return {option.name: option.sessions for option in self.options}


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What came of it. `screening` is one round, in which each option was alone on the machine."""

    screened: tuple[Finding, ...]
    confirmed: tuple[Finding, ...]
    left_out: tuple[LeftOut, ...]
    screening: Series
    confirming: Series
    seconds: float


class _Clock:
    """Seconds since the start, told to an observer as they pass."""

    def __init__(self, observer: Observer, now: Callable[[], float]) -> None:
        self._observer, self._now, self._start_s, self._told = observer, now, now(), 0

    @property
    def seconds(self) -> float:
        return self._now() - self._start_s

    def tell(self, description: str) -> None:
        passed = max(1, int(self.seconds) - self._told)  # a display divides by what is done
        self._told += passed
        self._observer.advance(passed, description)


def search(
    options: Sequence[Option],
    goal: Goal,
    *,
    seconds: float,
    observer: Observer,
    now: Callable[[], float] = time.monotonic,
) -> Search:
    """Screen `options`, the first first, and confirm the best of them; about `seconds` in all, as `now` counts them.

    One option is screened and one confirmed however short the time is. An option that cannot be opened, or gives wrong
    logits, is left out with what it said.

    Raises:
        LevitError: what the first option said, where none could be opened; or what one said that could be before.
    """
    clock = _Clock(observer, now)
    screened, screening, left_out = _screen(options, goal, SCREENING_SHARE * seconds, clock)
    plan = plan_rounds(finalists(screened, goal), goal, seconds=seconds - clock.seconds)
    chosen = [one.option for one in plan.finalists]
    with ExitStack() as stack:
        crews = []
        for option in chosen:
            clock.tell(f"opening {option.name}")
            crews.append(
                stack.enter_context(Crew(option.order, option.sessions.sessions, callers=option.sessions.callers))
            )
        rounds = run_rounds(crews, rounds=plan.rounds, length=plan.burst, on_step=clock.tell)
        confirming = Series(
            options=tuple(chosen),
            candidates=tuple(crew.candidate for crew in crews),
            peak_rss_bytes={crew.name: crew.peak_rss_bytes() for crew in crews},
            rounds=rounds,
        )
    confirmed = tuple(
        finding(option, [one.bursts[option.name] for one in rounds], goal, confirmed=True) for option in chosen
    )
    return Search(
        screened=tuple(screened),
        confirmed=confirmed,
        left_out=tuple(left_out),
        screening=screening,
        confirming=confirming,
        seconds=clock.seconds,
    )


def _screen(
    options: Sequence[Option], goal: Goal, seconds: float, clock: _Clock
) -> tuple[list[Finding], Series, list[LeftOut]]:
    found: list[Finding] = []
    candidates: list[Candidate] = []
    memory: dict[str, int] = {}
    rounds: list[Round] = []
    left_out: list[LeftOut] = []
    first_error: LevitError | None = None
    for option in options:
        if found and clock.seconds > seconds:
            left_out.append(LeftOut(name=option.name, reason="the time was up before its turn"))
            continue
        clock.tell(f"screening {option.name}")
        start_s = clock.seconds
        try:
            with Crew(option.order, option.sessions.sessions, callers=option.sessions.callers) as crew:
                opening_s = clock.seconds - start_s
                rounds += run_rounds([crew], rounds=1, length=SCREENING_BURST)
                candidates.append(crew.candidate)
                memory[option.name] = crew.peak_rss_bytes()
        except LevitError as error:
            first_error = first_error or error
            left_out.append(LeftOut(name=option.name, reason=str(error).removeprefix(f"{option.name}: ")))
            continue
        bursts = [rounds[-1].bursts[option.name]]
        found.append(finding(option, bursts, goal, confirmed=False, opening_s=opening_s))
    if first_error is not None and not found:
        raise first_error
    series = Series(
        options=tuple(one.option for one in found),
        candidates=tuple(candidates),
        peak_rss_bytes=memory,
        rounds=(_one_round(rounds),),
    )
    return found, series, left_out


def _one_round(rounds: Sequence[Round]) -> Round:
    """Bursts that followed each other as one round, under the worst of their conditions."""
    bursts = {name: burst for one in rounds for name, burst in one.bursts.items()}
    conditions = rounds[0].conditions
    for one in rounds[1:]:
        conditions = _worse(conditions, one.conditions)
    return Round(bursts=bursts, conditions=conditions)


def _worse(first: Conditions, second: Conditions) -> Conditions:
    def pick(name: str, choice: Callable[..., float]) -> float | None:
        known = [value for value in (getattr(first, name), getattr(second, name)) if value is not None]
        return choice(known) if known else None

    return replace(
        first,
        load_average=max(first.load_average, second.load_average),
        steal=pick("steal", max),
        other_load=pick("other_load", max),
        frequency_mhz=pick("frequency_mhz", min),
    )

"""The ways to serve that are tried: every bundle on every engine, with every number of threads and every batch."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from levit_benchmarks.bench.figures import counted
from levit_benchmarks.bench.record import OFFLINE, Sessions
from levit_benchmarks.bench.run import network_of
from levit_benchmarks.bench.subject import Order
from levit_benchmarks.tune.goal import Goal
from levit_deploy.architectures import IMAGENET_CLASSES, PUBLISHED
from levit_deploy.bundle import Bundle
from levit_engines.catalogue import CATALOGUE

PUBLISHED_IMAGE_SIZE = 224


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A bundle to try, with its name, and the engines that are for it; all that can run here where that is None.

    `commands` make it on another machine; none for a bundle that was handed in.
    """

    name: str
    bundle: Bundle
    commands: tuple[str, ...] = ()
    engines: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One way to serve. `top1` is what LeViT's authors published, None where the bundle is another network."""

    bundle: str
    path: Path
    network: str
    top1: float | None
    precision: str
    engine: str
    batch: int
    sessions: Sessions
    commands: tuple[str, ...]

    @property
    def name(self) -> str:
        """What tells it apart within a run."""
        return f"{self.bundle} {self.engine}, {self.threads_text}, batch {self.batch}"

    @property
    def threads_text(self) -> str:
        """`2 threads`, `2 x 1 thread` where there are several sessions, or `1 thread with 2 callers`."""
        text = counted(self.sessions.threads, "thread")
        if self.sessions.callers > 1:
            return f"{text} with {self.sessions.callers} callers"
        return text if self.sessions.sessions == 1 else f"{self.sessions.sessions} x {text}"

    @property
    def order(self) -> Order:
        """What a worker process is told to open."""
        return Order(
            name=self.name,
            threads=self.sessions.threads,
            batch=self.batch,
            network=self.network,
            engine=self.engine,
            bundle=self.path,
        )

    def run_commands(self, scenario: str) -> tuple[str, ...]:
        """What makes the bundle, where that is known, and what times it again."""
        place = self.bundle if self.commands else str(self.path)
        words = ["levit-bench", place, "--engine", self.engine]
        words += ["--threads", str(self.sessions.busy_threads), "--batch", str(self.batch)]
        words += ["--scenario", OFFLINE] if scenario == OFFLINE else []
        return (*self.commands, shlex.join(words))

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values; of the path only the name of the folder."""
        return {
            "name": self.name,
            "bundle": self.bundle,
            "network": self.network,
            "published_top1": self.top1,
            "precision": self.precision,
            "engine": self.engine,
            "batch": self.batch,
            "sessions": self.sessions.sessions,
            "threads": self.sessions.threads,
            "callers": self.sessions.callers,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """What was not measured, and why."""

    name: str
    reason: str


def published_top1(bundle: Bundle) -> float | None:
    """Top-1 in percent as published, of a network as it was published; None of any other."""
    config = bundle.manifest.config
    as_published = (config.num_classes, config.image_size) == (IMAGENET_CLASSES, PUBLISHED_IMAGE_SIZE)
    return PUBLISHED[config.arch].top1 if as_published else None


def thread_counts(available: int) -> tuple[int, ...]:
    """All that are available, then fewer: powers of two."""
    powers = {2**exponent for exponent in range(available.bit_length()) if 2**exponent <= available}
    return tuple(sorted(powers | {available}, reverse=True))


def options_of(
    sources: Sequence[Source],
    goal: Goal,
    *,
    engines: Sequence[str],
    batches: Sequence[int],
    threads: Sequence[int],
) -> tuple[tuple[Option, ...], tuple[LeftOut, ...]]:
    """What is to be measured, the likeliest to be fast first, and what is not, with the reason.

    Without `batches` each bundle is tried with the smallest that it takes.
    """
    wanted, left_out = [], []
    for source in sources:
        reason = _unfit(source.bundle, goal)
        if reason:
            left_out.append(LeftOut(name=source.name, reason=reason))
        else:
            wanted.append(source)
    found: list[tuple[tuple[int, int, int], Option]] = []
    for source in wanted:
        for place, engine in enumerate(engines):
            if source.engines is not None and engine not in source.engines:
                continue
            reason = _not_built(source.bundle, engine)
            if reason:
                left_out.append(LeftOut(name=f"{source.name} {engine}", reason=reason))
                continue
            for rank, sessions in enumerate(_sessions(goal, engine, threads)):
                found += [
                    ((rank, number, place), _option(source, engine, batch, sessions))
                    for number, batch in enumerate(_batches(source.bundle, batches))
                ]
    # So that, should the time run out, each network was tried in the ways that are mostly fast.
    found.sort(key=lambda pair: pair[0])
    return tuple(option for _, option in found), tuple(left_out)


def _unfit(bundle: Bundle, goal: Goal) -> str:
    top1 = published_top1(bundle)
    if goal.min_top1 is None or (top1 is not None and top1 >= goal.min_top1):
        return ""
    if top1 is None:
        return (
            f"no top-1 is published for {bundle.manifest.config.num_classes} classes "
            f"at {bundle.manifest.config.image_size} pixels"
        )
    return f"published top-1 is {top1:g} %"


def _not_built(bundle: Bundle, engine: str) -> str:
    if CATALOGUE[engine].needs_building and engine not in bundle.manifest.engines:
        return f"has no engine {engine} yet: run levit-build {bundle.path} --engine {engine}"
    return ""


def _sessions(goal: Goal, engine: str, threads: Sequence[int]) -> Iterator[Sessions]:
    """How threads are used. On a GPU their number says nothing, and one session has it all."""
    if CATALOGUE[engine].device != "cpu":
        yield Sessions(sessions=1, threads=threads[0])
        return
    ways = [Sessions(sessions=1, threads=count) for count in threads]
    if goal.scenario == OFFLINE:
        ways += [Sessions(sessions=count, threads=1) for count in threads]
        if CATALOGUE[engine].side_by_side:
            ways += [Sessions(sessions=1, threads=1, callers=count) for count in threads]
    yield from dict.fromkeys(ways)


def _batches(bundle: Bundle, batches: Sequence[int]) -> tuple[int, ...]:
    sizes = bundle.manifest.batch_sizes
    return tuple(batch for batch in batches if sizes.minimum <= batch <= sizes.maximum) or (sizes.minimum,)


def _option(source: Source, engine: str, batch: int, sessions: Sessions) -> Option:
    building = CATALOGUE[engine].needs_building and source.commands
    command = shlex.join(["levit-build", source.name, "--engine", engine])
    return Option(
        bundle=source.name,
        path=source.bundle.path,
        network=network_of(source.bundle),
        top1=published_top1(source.bundle),
        precision=source.bundle.manifest.precision,
        engine=engine,
        batch=batch,
        sessions=sessions,
        commands=(*source.commands, command) if building else source.commands,
    )

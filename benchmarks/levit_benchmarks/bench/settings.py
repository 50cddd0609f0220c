"""What a run of levit-bench is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from levit_benchmarks.bench.record import SCENARIOS, SINGLE_STREAM
from levit_benchmarks.bench.rounds import BurstLength
from levit_deploy.errors import ConfigError

# Many short rounds: on a noisy machine rounds differ by more than the calls of one.
DEFAULT_ROUNDS, DEFAULT_BURST = 40, BurstLength(seconds=0.2, count=3)
DEFAULT_PROCESSES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """A peer, on `engine` in place of its own where that is named."""

    peer: str
    engine: str = ""

    @classmethod
    def from_text(cls, text: str) -> Against:
        """PEER or PEER:ENGINE."""
        peer, _, engine = text.partition(":")
        return cls(peer=peer, engine=engine)

    @property
    def text(self) -> str:
        """What `from_text` takes."""
        return f"{self.peer}:{self.engine}" if self.engine else self.peer


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchSettings:
    """One run. The first bundle on the first engine is the baseline; `threads` is what one candidate may use in all.

    The rounds are shared by `processes` of every candidate, one after the other, as far as there are rounds for them.

    `cold_starts` fresh processes of every engine are started where it is not 0. `checkpoint` holds the weights of the
    bundles, which peers need where they are not untrained.
    """

    bundles: tuple[Path, ...]
    threads: int
    engines: tuple[str, ...] = ("onnxruntime",)
    batches: tuple[int, ...] = (1,)
    scenario: str = SINGLE_STREAM
    rounds: int = DEFAULT_ROUNDS
    burst: BurstLength = DEFAULT_BURST
    processes: int = DEFAULT_PROCESSES
    against: tuple[Against, ...] = ()
    checkpoint: Path | None = None
    cold_starts: int = 0
    end_to_end: bool = False

    def __post_init__(self) -> None:
        for name, values in (("bundle", self.bundles), ("--engine", self.engines), ("--batch", self.batches)):
            if not values or len(set(values)) != len(values):
                raise ConfigError(f"{name}: needed is at least one, and none twice, got {', '.join(map(str, values))}")
        if self.scenario not in SCENARIOS:
            raise ConfigError(f"unknown scenario {self.scenario!r}: choose from {', '.join(SCENARIOS)}")
        counts = (self.threads, self.rounds, self.processes, self.burst.count, *self.batches)
        if min(counts) < 1 or not 0 < self.burst.seconds < 3600:
            raise ConfigError("threads, rounds, processes, batch sizes, calls and seconds of a burst must be above 0")

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values; of paths only the names, which are nobody's secret."""
        return {
            "bundles": [path.resolve().name for path in self.bundles],
            "engines": list(self.engines),
            "batches": list(self.batches),
            "threads": self.threads,
            "scenario": self.scenario,
            "rounds": self.rounds,
            "min_seconds": self.burst.seconds,
            "min_count": self.burst.count,
            "processes": self.processes,
            "against": [against.text for against in self.against],
            "checkpoint": None if self.checkpoint is None else self.checkpoint.name,
            "cold_starts": self.cold_starts,
            "end_to_end": self.end_to_end,
        }

"""What a probe found out: a value that the process which tried leaves behind, also when it crashes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

# The stages of a probe, in words that follow "while"; the child notes each before it begins.
START = "starting Python"
IMPORT = "importing the package"
GRAPH = "making the test graph"
PROVIDER = "looking for the provider"
OPEN = "opening the test graph"
BUILD = "building the test graph"
BINDINGS = "importing CUDA's bindings"
DEVICE = "looking for a GPU"
COMPILE = "compiling the test network"
RUN = "running the test graph"
COMPARE = "comparing the numbers"
STAGES = (START, IMPORT, GRAPH, PROVIDER, OPEN, BUILD, BINDINGS, DEVICE, COMPILE, RUN, COMPARE)


class Outcome(Enum):
    """How an attempt ended."""

    PASSED = "passed"
    FAILED = "failed"
    CRASHED = "crashed"
    TIMED_OUT = "timed out"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeTask:
    """What to try: the engine `target`, or only the import of `module` where no engine is concerned."""

    target: str
    module: str
    title: str
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One attempt; `stage` and `reason` say where and why it ended unless it passed. `built` engines were compiled."""

    target: str
    module: str
    outcome: Outcome
    stage: str
    reason: str
    built: bool
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether the engine gave the right numbers, or the module could be imported."""
        return self.outcome is Outcome.PASSED

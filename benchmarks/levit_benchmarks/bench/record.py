"""What a run of levit-bench leaves: settings, conditions, raw samples and what follows from them, as plain values.

Nothing here measures. Times are nanoseconds where the name ends in `_ns`, else seconds; memory is bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SCHEMA_VERSION = 1
SINGLE_STREAM, OFFLINE = "single-stream", "offline"
SCENARIOS = (SINGLE_STREAM, OFFLINE)
OPTIONAL = "optional"
"""The metadata of fields that files of this schema version may lack: they came after the first of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One thing that is timed: a network, on an engine. `name` is unique within a run.

    `network` is "LeViT-384", "EfficientNet-B2", …; `image_size` the side of its input in pixels; `macs` the
    multiply-accumulates of one image, counted, not estimated, or None where nobody counted them. `timed_sha256` is
    the hash of the file that was timed, or of the weights where no file is; `details` what a reader needs to repeat it
    (graph, provider, weights, notes). `checked` says with what its outputs were compared before timing counted, and how
    close they were.
    """

    name: str
    network: str
    engine: str
    engine_version: str
    precision: str
    image_size: int
    macs: int | None
    timed_sha256: str
    checked: str
    details: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """The timed calls of one candidate in one round. `cpu_ns` is user and system time of its process meanwhile.

    Each latency is of one call with `batch` images; `wall_ns` is from the start of the first call to the end of the
    last, over all sessions. `gpu_ns` is what the GPU itself took for each call, copies included, by CUDA events; empty
    on a CPU, and where the engine keeps its stream to itself.
    """

    latencies_ns: tuple[int, ...]
    wall_ns: int
    cpu_ns: int
    gpu_ns: tuple[int, ...] = field(default=(), metadata={OPTIONAL: True})


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """The machine while one burst or round ran; None where it cannot be read here.

    `steal` is the share of CPU time that the hypervisor gave to others, `other_load` the CPUs that processes other
    than ours kept busy, `frequency_mhz` the mean over the allowed CPUs.
    """

    load_average: float
    steal: float | None
    other_load: float | None
    frequency_mhz: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One burst of every candidate, in the order in which they ran."""

    bursts: Mapping[str, Burst]
    conditions: Conditions


@dataclass(frozen=True, slots=True, kw_only=True)
class Sessions:
    """How a candidate used its threads: `sessions` at once, of `threads` each, in processes of their own.

    Of every session `callers` threads of its process ask for answers at the same time.
    """

    sessions: int
    threads: int
    callers: int = field(default=1, metadata={OPTIONAL: True})

    @property
    def busy_threads(self) -> int:
        """How many threads compute at the same time."""
        return self.sessions * self.threads * self.callers


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Candidates that were timed in turn, under one setting; ratios are taken within it only.

    `peak_rss_bytes` and `sessions` are by candidate's name; `baseline` is the name that ratios are relative to.
    """

    scenario: str
    batch: int
    threads: int
    baseline: str
    candidates: tuple[Candidate, ...]
    sessions: Mapping[str, Sessions]
    peak_rss_bytes: Mapping[str, int]
    rounds: tuple[Round, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdStart:
    """Fresh processes of one candidate, each from its start to its first checked answer; seconds by stage, one each."""

    candidate: Candidate
    threads: int
    stages_s: tuple[Mapping[str, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndToEnd:
    """A JPEG to its classes: nanoseconds by stage (decode, preprocess, infer, post-process), one mapping an image."""

    candidate: Candidate
    threads: int
    photograph: str
    stages_ns: tuple[Mapping[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineLimit:
    """What the machine can do at most with `threads`, measured in the same run.

    `flops` by precision ("fp32", "int8") in operations a second, a multiply-accumulate being two; `bytes_s` is the
    memory bandwidth; `method` says how each was found.
    """

    threads: int
    flops: Mapping[str, float]
    bytes_s: float
    method: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A whole run. `environment` is `levit_benchmarks.machine.environment`, `settings` the command's options.

    `failed` holds what could not be measured, and why.
    """

    environment: Mapping[str, Any]
    settings: Mapping[str, Any]
    limits: tuple[MachineLimit, ...]
    groups: tuple[Group, ...]
    cold_starts: tuple[ColdStart, ...] = ()
    end_to_end: tuple[EndToEnd, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)

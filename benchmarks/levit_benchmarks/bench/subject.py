"""What a worker process times: one network on one engine, opened from an order that can be sent to it as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from levit_benchmarks.bench.record import Candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to open: an `engine` of ours on `bundle`, or, where `peer` is named, that peer's way to run `network`.

    A peer takes the weights of `bundle` where `network` is the bundle's; `folder` holds what its `prepare` has left.
    `options` are the peer's own. `threads` is for one session.
    """

    name: str
    threads: int
    batch: int
    network: str
    engine: str = ""
    bundle: Path | None = None
    peer: str = ""
    folder: Path | None = None
    options: Mapping[str, str] = field(default_factory=dict)


class Subject(Protocol):
    """An opened order: `infer` takes `batch` images and gives their logits (B, K) in float32.

    `images` are float32 (B, 3, H, W), normalised, or uint8 where the bundle's graph takes pixels.
    """

    def check(self) -> Candidate:
        """What is timed, once its outputs are found right; ParityError where they are not."""
        ...

    def images(self) -> NDArray[Any]:
        """The batch that is timed: real photographs, repeated as needed."""
        ...

    def infer(self, images: NDArray[Any]) -> NDArray[np.float32]: ...

    def close(self) -> None: ...


@runtime_checkable
class SideBySide(Protocol):
    """A subject that may compute for several callers at the same time."""

    @property
    def side_by_side(self) -> bool:
        """Whether calls of `infer` from several threads are computed at the same time, not in turns."""
        ...


@runtime_checkable
class GpuTimed(Protocol):
    """A subject that may also know what the GPU itself took for the last call."""

    def gpu_ns(self) -> int | None:
        """Nanoseconds on the GPU's own clock, or None where there is no such clock."""
        ...


class Peer(Protocol):
    """What each module in `levit_benchmarks.peers` offers under the name PEER."""

    @property
    def name(self) -> str:
        """What `--against` takes: "timm-onnxruntime"."""
        ...

    @property
    def packages(self) -> tuple[str, ...]:
        """Modules that must be importable; the extra `bench` installs them."""
        ...

    def prepare(self, order: Order, folder: Path) -> None:
        """Slow work done once, in a process of its own: export to `folder`. Raises LevitError."""
        ...

    def import_engine(self, order: Order) -> None:
        """Load the library that runs it, and nothing of the network."""
        ...

    def open_subject(self, order: Order) -> Subject:
        """Open what was prepared. Raises LevitError where something is missing."""
        ...

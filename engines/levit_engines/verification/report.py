"""What a verification found: values for the table, the JSON document and the HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from levit_deploy.blame import Blame, ProbeError
from levit_deploy.bundle import Bundle
from levit_deploy.errors import EnvironmentIncompleteError, ParityError
from levit_deploy.metamorphic import BatchCheck
from levit_deploy.parity import decisive_of
from levit_deploy.rung_record import HopRecord, RungRecord


class Origin(str, Enum):
    """Where the figures of a stage come from."""

    MEASURED = "measured"
    RECORDED = "recorded at export"
    NOT_RUN = "could not be run"
    UNAVAILABLE = "cannot run here"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage of the ladder: a rung for each batch size and, where they were read, its values inside.

    `reason` says why a stage was not run, or its values not read; `lacking`, it is that this machine lacks something.
    `depth` is in order of execution. `batch_checks` are those of an engine.
    """

    name: str
    origin: Origin
    rungs: tuple[RungRecord, ...] = ()
    reason: str = ""
    blame: Blame | None = None
    depth: tuple[ProbeError, ...] = ()
    batch_checks: tuple[BatchCheck, ...] = ()
    provenance: Mapping[str, str] | None = None
    lacking: bool = False

    @property
    def decisive(self) -> RungRecord | None:
        """The rung that speaks for all, if any was run."""
        return decisive_of(self.rungs) if self.rungs else None

    @property
    def worst_hop(self) -> HopRecord | None:
        """The step from the stage before that speaks for all batch sizes, if there is one."""
        hops = [rung.hop for rung in self.rungs if rung.hop is not None]
        return decisive_of(hops) if hops else None

    def __bool__(self) -> bool:
        was_run = self.origin is not Origin.NOT_RUN and bool(self.rungs)
        return was_run and all(self.rungs) and all(self.batch_checks)

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {
            "name": self.name,
            "origin": self.origin.value,
            "verdict": "pass" if self else "miss",
            "reason": self.reason,
            "provenance": dict(self.provenance or {}),
            "rungs": [rung.to_json() for rung in self.rungs],
            "blame": None if self.blame is None else self.blame.to_json(),
            "depth": [found.to_json() for found in self.depth],
            "batch_checks": [check.to_json() for check in self.batch_checks],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSet:
    """The images of a verification: names, RGB pixels (n, S, S, 3) uint8, the truth's best class of each."""

    source: str
    names: tuple[str, ...]
    pixels: NDArray[np.uint8]
    best_classes: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationReport:
    """A finished verification. `misses` are sentences about what failed beside the stages.

    `truth` says where the reference comes from, `environment` what ran it, `seconds` how long each step took.
    """

    bundle: Bundle
    truth: str
    images: ImageSet
    labels: tuple[str, ...]
    stages: tuple[Stage, ...]
    misses: tuple[str, ...]
    notes: tuple[str, ...]
    environment: Mapping[str, str]
    seconds: Mapping[str, float]

    def __bool__(self) -> bool:
        return bool(self.stages) and all(self.stages) and not self.misses

    @property
    def exit_code(self) -> int:
        """0 when all holds, 4 when what was run holds but this machine lacks what the rest needs, else 1."""
        if self:
            return 0
        only_lacking = bool(self.stages) and not self.misses and all(stage or stage.lacking for stage in self.stages)
        return EnvironmentIncompleteError.exit_code if only_lacking else ParityError.exit_code

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values, without pixels."""
        manifest = self.bundle.manifest
        return {
            "bundle": str(self.bundle.path),
            "verdict": "pass" if self else "miss",
            "truth": self.truth,
            "images": {"source": self.images.source, "names": list(self.images.names)},
            "stages": [stage.to_json() for stage in self.stages],
            "misses": list(self.misses),
            "notes": list(self.notes),
            "environment": dict(self.environment),
            "seconds": {name: round(seconds, 3) for name, seconds in self.seconds.items()},
            "network": manifest.config.to_json(),
            "precision": manifest.precision,
            "weights": dict(manifest.weights),
            "members": {name: member.to_json() for name, member in sorted(manifest.members.items())},
        }

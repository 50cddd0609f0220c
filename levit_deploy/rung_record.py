"""A rung of the ladder as it is written down: what parity.json and `--json` hold, and what tables are drawn from."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from levit_deploy.errors import BundleError
from levit_deploy.parity import Rung, finite_or_text

NOT_FINITE = ("nan", "inf", "-inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class FlipRecord:
    """An image whose best class changed; `margin` is how far apart both classes are in the truth's logits."""

    image: int
    reference_class: int
    candidate_class: int
    margin: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HopRecord:
    """A rung against the stage before it."""

    previous: str
    verdict: str
    bound_share: float
    max_abs_error: float
    relative_l2: float
    sqnr_db: float
    top1_agreement: float
    top5_overlap: float
    flips: int

    def __bool__(self) -> bool:
        return self.verdict == "pass" and 0.0 <= self.bound_share <= 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RungRecord:
    """The figures of one rung; `bound` is the one of the decisive image, errors are in logits."""

    stage: str
    batch_size: int
    verdict: str
    decisive_image: int
    worst_image: int
    bound: float
    bound_share: float
    max_abs_error: float
    relative_l2: float
    sqnr_db: float
    top1_agreement: float
    top5_overlap: float
    flips: tuple[FlipRecord, ...]
    hop: HopRecord | None

    def __bool__(self) -> bool:
        # Both: a file may contradict itself.
        return self.verdict == "pass" and 0.0 <= self.bound_share <= 1.0

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values, NaN and infinity as text."""
        return {name: _plain(value) for name, value in asdict(self).items()}

    @classmethod
    def of(cls, rung: Rung) -> RungRecord:
        """What would be written down of `rung`."""
        return cls.from_json(rung.to_json())

    @classmethod
    def from_json(cls, document: object) -> RungRecord:
        """What `Rung.to_json` wrote; raises BundleError on anything else."""
        fields = _fields(document, cls)
        flips, hop = fields["flips"], fields["hop"]
        if not isinstance(flips, list):
            raise BundleError("parity.json: the flips of a rung must be a list")
        fields["flips"] = tuple(FlipRecord(**_fields(flip, FlipRecord)) for flip in flips)
        fields["hop"] = None if hop is None else HopRecord(**_fields(hop, HopRecord))
        return cls(**fields)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return finite_or_text(value)
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _fields(document: object, kind: type) -> dict[str, Any]:
    """The fields of dataclass `kind` in `document`, their types checked; raises BundleError."""
    if not isinstance(document, Mapping):
        raise BundleError("parity.json: a rung must be an object")
    annotations: dict[str, str] = kind.__annotations__
    missing = sorted(set(annotations) - set(document))
    if missing:
        raise BundleError(f"parity.json: a rung lacks {', '.join(missing)}")
    return {name: _value(document[name], annotation, name) for name, annotation in annotations.items()}


def _value(value: object, annotation: str, name: str) -> Any:
    if annotation == "float":
        # Numbers, and text for what JSON lacks. Neither a bool nor a whole number that no float can hold.
        if type(value) is float or value in NOT_FINITE or (type(value) is int and abs(value) <= sys.float_info.max):
            return float(value)
        raise BundleError(f"parity.json: {name!r} of a rung must be a number")
    wanted = {"int": int, "str": str}.get(annotation)
    if wanted is not None and type(value) is not wanted:
        raise BundleError(f"parity.json: {name!r} of a rung must be {annotation}")
    return value

"""Which module broke it: intermediate values against the truth's, and the first one beyond its own bound.

Arrays in, values out: knows no engine. The values are those of `levit_deploy.probes`, sampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from levit_deploy.module_truth import ModuleTruth, ProbeValues
from levit_deploy.parity import finite_or_text
from levit_deploy.probes import Probe


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeError:
    """One intermediate value against the truth, on the image where it is closest to its bound or furthest beyond.

    `magnitude` is the largest |truth| of the sampled values, for a relative view.
    """

    probe: Probe
    image: int
    error: float
    bound: float
    magnitude: float

    @property
    def bound_share(self) -> float:
        """Error as a share of the bound; a bound of zero allows no error at all."""
        if self.bound:
            return self.error / self.bound
        return 0.0 if self.error == 0.0 else float("inf")

    def __bool__(self) -> bool:
        return self.bound_share <= 1.0

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {
            "probe": self.probe.name,
            "module": self.probe.module,
            "image": self.image,
            "error": finite_or_text(self.error),
            "bound": finite_or_text(self.bound),
            "bound_share": finite_or_text(self.bound_share),
            "magnitude": finite_or_text(self.magnitude),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Blame:
    """Where the values of `stage` leave the truth: `after` is the first error beyond its bound.

    `before` is the last one within it, `unseen` the probes between the two that the candidate does not offer.
    `after` is None when no probe is beyond its bound though the logits are. `image_compared` says whether the image
    that missed was among those whose values were compared.
    """

    stage: str
    batch_size: int
    before: ProbeError | None
    after: ProbeError | None
    unseen: tuple[Probe, ...] = ()
    image_compared: bool = True

    @property
    def module(self) -> str | None:
        """PyTorch path of the first module that diverges."""
        return None if self.after is None else self.after.probe.module

    def sentence(self) -> str:
        """The finding for a person."""
        if self.after is None:
            return self._nothing_found()
        before = "nothing was probed before it"
        if self.before is not None:
            before = f"before it, at {self.before.probe.name}, {_figures(self.before)}"
        inside = self.after.probe.role.value
        place = f"{inside}: " if inside else ""
        text = f"first wrong module: {self.module} ({place}{_figures(self.after)}; {before})"
        if self.unseen:
            text += f"; not readable in between: {', '.join(probe.name for probe in self.unseen)}"
        return text

    def _nothing_found(self) -> str:
        if self.before is None:
            return "no module can be named: no value inside could be read"
        if not self.image_compared:
            return (
                "no module can be named: the values inside are known of other images only, and hold for those; "
                "start from the weights, so that they are known of this one"
            )
        return (
            "no module can be named: while its values inside are read, all of them hold; reading keeps an engine from "
            "fusing across them, so look at its fusions, and at what ran before"
        )

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {
            "stage": self.stage,
            "batch_size": self.batch_size,
            "module": self.module,
            "before": None if self.before is None else self.before.to_json(),
            "after": None if self.after is None else self.after.to_json(),
            "unseen": [probe.name for probe in self.unseen],
            "sentence": self.sentence(),
        }


def _figures(found: ProbeError) -> str:
    return f"error {found.error:.2g}, allowed {found.bound:.2g}"


def error_by_depth(truth: ModuleTruth, values: ProbeValues) -> tuple[ProbeError, ...]:
    """Every probe that `values` offers against the truth, in order of execution.

    `values` (images, samples) holds the same images as `truth`. A value of another shape counts as infinitely wrong.
    """
    return tuple(_error_at(truth, probe, values[probe.name]) for probe in truth.probes if probe.name in values)


def _error_at(truth: ModuleTruth, probe: Probe, values: NDArray[np.float64]) -> ProbeError:
    expected, bounds = truth.values[probe.name], truth.bounds[probe.name]
    errors = np.full(len(bounds), np.inf)
    if values.shape == expected.shape:
        with np.errstate(invalid="ignore", over="ignore"):
            errors = np.abs(values.astype(np.float64) - expected).max(axis=1)
    candidates = [
        ProbeError(
            probe=probe,
            image=truth.images[row],
            error=float(errors[row]),
            bound=float(bounds[row]),
            magnitude=float(np.abs(expected[row]).max()),
        )
        for row in range(len(bounds))
    ]
    # argmax takes a NaN before all numbers.
    return candidates[int(np.argmax([candidate.bound_share for candidate in candidates]))]


def find_culprit(
    truth: ModuleTruth, profile: Sequence[ProbeError], *, stage: str, batch_size: int, image: int | None = None
) -> Blame:
    """The first probe of `profile`, which is in order of execution, that is beyond its own bound.

    `image` is the one that missed, if that is known.
    """
    compared = image is None or image in truth.images
    found = Blame(stage=stage, batch_size=batch_size, before=None, after=None, image_compared=compared)
    for error in profile:
        if not error:
            order = list(truth.probes)
            start = 0 if found.before is None else order.index(found.before.probe) + 1
            return replace(found, after=error, unseen=tuple(order[start : order.index(error.probe)]))
        found = replace(found, before=error)
    return found

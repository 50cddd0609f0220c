"""What failed in a verification, as sentences for a person, and the names that they are told with.

Indices of images and classes may come from a bundle's parity.json, so none of them is trusted to exist.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from levit_deploy.golden import PHOTOGRAPHS, STRUCTURED
from levit_deploy.metamorphic import BatchCheck
from levit_deploy.rung_record import RungRecord
from levit_engines.verification.figures import INFINITE, error_text, share_of
from levit_engines.verification.report import Origin, Stage, VerificationReport


@dataclass(frozen=True, slots=True)
class Finding:
    """What failed at one stage, in sentences; `stage` is empty where no stage by itself is at fault."""

    stage: str
    sentences: tuple[str, ...]


def findings(report: VerificationReport) -> Iterator[Finding]:
    """All that makes `report` a miss: what concerns no single stage first, then stage by stage."""
    if report.misses:
        yield Finding("", report.misses)
    for stage in report.stages:
        sentences = tuple(_sentences(report, stage))
        if sentences:
            yield Finding(stage.name, sentences)


def image_index(report: VerificationReport, stage: Stage, index: int) -> int | None:
    """The place among `report.images` of what `stage` calls image `index`, or None when it is not shown there.

    Recorded stages count the golden images, measured ones the images of this verification.
    """
    of_this_run = stage.origin is Origin.MEASURED or report.images.names == PHOTOGRAPHS + STRUCTURED
    return index if of_this_run and 0 <= index < len(report.images.names) else None


def image_name(report: VerificationReport, stage: Stage, index: int) -> str:
    """The name of what `stage` calls image `index`."""
    place = image_index(report, stage, index)
    if place is not None:
        return report.images.names[place]
    return f"image {index}" if stage.origin is Origin.MEASURED else f"golden image {index}"


def class_name(report: VerificationReport, index: int) -> str:
    """The label of a class and its number."""
    known = 0 <= index < len(report.labels)
    return f"{report.labels[index]} ({index})" if known else f"class {index}, which has no name"


def batch_sentence(report: VerificationReport, stage: Stage, check: BatchCheck) -> str:
    """The figures of the worst row of `check`."""
    name = image_name(report, stage, check.worst_image)
    figures = "becomes a value that is not a number"
    if not math.isnan(check.worst_share):
        share = share_of(check.worst_share, "what rounding allows")
        figures = f"changes by {error_text(check.worst_error)}, {share}"
    return (
        f"batch check “{check.check}” at batch {check.batch_size}: "
        f"{name}, at position {check.worst_position}, {figures}"
    )


def _sentences(report: VerificationReport, stage: Stage) -> Iterator[str]:
    if stage.origin is Origin.NOT_RUN:
        yield f"could not be run: {stage.reason or 'no reason was given'}"
    misses = [rung for rung in stage.rungs if not rung]
    if misses:
        yield _rung_sentence(report, stage, misses)
    if stage.blame is not None:
        yield f"at batch {stage.blame.batch_size}, {stage.blame.sentence()}"
    for check in stage.batch_checks:
        if not check:
            yield batch_sentence(report, stage, check)


def _rung_sentence(report: VerificationReport, stage: Stage, misses: list[RungRecord]) -> str:
    """The figures of the first rung that does not hold, and at which other batch sizes none does."""
    rung = misses[0]
    name = image_name(report, stage, rung.decisive_image)
    if math.isnan(rung.bound_share):
        figures = f"the error of {name} is not a number, allowed is {error_text(rung.bound)}"
    elif math.isinf(rung.bound_share):
        figures = f"the error of {name} is {INFINITE} as a share of its bound of {error_text(rung.bound)}"
    else:
        figures = f"{name} is at {share_of(rung.bound_share, 'its bound')} of {error_text(rung.bound)}"
    others = ", ".join(str(other.batch_size) for other in misses[1:])
    when = " when the bundle was made" if stage.origin is Origin.RECORDED else ""
    return f"missed{when} at batch {rung.batch_size}: {figures}" + (f"; also at batch {others}" if others else "")

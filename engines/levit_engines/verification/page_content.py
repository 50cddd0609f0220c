"""What the page of a verification shows, as values: rows, cards and small pictures, in the order of the page."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from levit_deploy.blame import ProbeError
from levit_deploy.manifest import Manifest
from levit_deploy.metamorphic import CHECKS, BatchCheck
from levit_deploy.probes import Probe
from levit_deploy.rung_record import FlipRecord, RungRecord
from levit_engines.verification.findings import batch_sentence, class_name, image_index, image_name
from levit_engines.verification.report import Origin, Stage, VerificationReport

FLIP_SIDE_PX, GALLERY_SIDE_PX = 160, 96
MOST_FLIPS_SHOWN, MOST_IMAGES_SHOWN = 48, 200
JPEG_QUALITY = 88
DATE = "date"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlipCard:
    """An image that one stage puts into another class than the truth; `picture` is a data URI or empty."""

    stage: str
    batch_sizes: tuple[int, ...]
    name: str
    picture: str
    reference: str
    candidate: str
    margin: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderRow:
    """One stage in the ladder; `remark` explains a verdict that its figures do not show."""

    stage: Stage
    verdict: str
    remark: str
    rung: RungRecord | None
    worst_image: str
    flips: tuple[FlipCard, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSizeTable:
    """Shares of the bound of all stages, at all batch sizes; a row holds one rung for each size, or None."""

    sizes: tuple[int, ...]
    rows: tuple[tuple[str, tuple[RungRecord | None, ...]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchTable:
    """The batch checks of one engine; a row holds one check for each batch size, or None where it does not apply."""

    engine: str
    sizes: tuple[int, ...]
    rows: tuple[tuple[str, tuple[BatchCheck | None, ...]], ...]
    identical_rows: int
    compared_rows: int
    misses: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthRow:
    """One probe: what each stage of the drawing has there, or None."""

    probe: Probe
    found: tuple[ProbeError | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRow:
    """A layer that could be on integers: the logits' ratio of signal to error when it alone is, and whether it is."""

    path: str
    sqnr_db: float
    quantized: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbnail:
    """One image of the verification, small; `label` is the truth's best class."""

    name: str
    picture: str
    label: str
    flipped: bool


def verdict_of(stage: Stage) -> str:
    """The word for a stage: pass, miss, or not run."""
    if stage.origin is Origin.NOT_RUN:
        return "not run"
    return "pass" if stage else "miss"


def headline(report: VerificationReport) -> str:
    """One sentence that says what the verdict means."""
    stages = len(report.stages)
    if report:
        recorded = sum(stage.origin is Origin.RECORDED for stage in report.stages)
        return (
            f"{_counted(stages, 'stage')} and no error larger than rounding explains, "
            f"on {_counted(len(report.images.names), 'image')}"
            + (f"; {recorded} of them as recorded when the bundle was made" if recorded else "")
        )
    missed = [verdict_of(stage) for stage in report.stages if not stage]
    parts = []
    if count := missed.count("miss"):
        parts.append(f"{count} of {_counted(stages, 'stage')} {'misses' if count == 1 else 'miss'}")
    if count := missed.count("not run"):
        parts.append(f"{count} could not be run")
    if report.misses:
        parts.append(f"{_counted(len(report.misses), 'finding')} beside the stages")
    return ", ".join(parts)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def measured_at(report: VerificationReport) -> str:
    """When the verification ran, in UTC, as the environment says."""
    recorded = report.environment.get(DATE, "")
    try:
        moment = datetime.fromisoformat(recorded)
    except ValueError:
        return recorded or "not recorded"
    if moment.tzinfo is None:
        return recorded
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def ladder_rows(report: VerificationReport) -> tuple[LadderRow, ...]:
    """One row for each stage, in order."""
    return tuple(_ladder_row(report, stage) for stage in report.stages)


def _ladder_row(report: VerificationReport, stage: Stage) -> LadderRow:
    rung = stage.decisive
    missed_checks = sum(not check for check in stage.batch_checks)
    remark = f"{_counted(missed_checks, 'batch check')} missed" if missed_checks else ""
    return LadderRow(
        stage=stage,
        verdict=verdict_of(stage),
        remark=stage.reason if stage.origin is Origin.NOT_RUN else remark,
        rung=rung,
        worst_image="" if rung is None else image_name(report, stage, rung.worst_image),
        flips=flip_cards(report, stage),
    )


def flip_cards(report: VerificationReport, stage: Stage) -> tuple[FlipCard, ...]:
    """Every image that flips at any batch size, once for each class it flips to; without its picture."""
    sizes: dict[FlipRecord, list[int]] = {}
    for rung in stage.rungs:
        for flip in dict.fromkeys(rung.flips):
            sizes.setdefault(flip, []).append(rung.batch_size)
    return tuple(_flip_card(report, stage, flip, tuple(at)) for flip, at in sizes.items())


def _flip_card(report: VerificationReport, stage: Stage, flip: FlipRecord, sizes: tuple[int, ...]) -> FlipCard:
    place = image_index(report, stage, flip.image)
    return FlipCard(
        stage=stage.name,
        batch_sizes=sizes,
        name=image_name(report, stage, flip.image),
        picture="" if place is None else data_uri(report.images.pixels[place], FLIP_SIDE_PX),
        reference=class_name(report, flip.reference_class),
        candidate=class_name(report, flip.candidate_class),
        margin=flip.margin,
    )


def shown_flips(rows: Sequence[LadderRow]) -> tuple[tuple[FlipCard, ...], int]:
    """The flips with the largest margins first, as many as a page should hold, and how many there are."""
    flips = [flip for row in rows for flip in row.flips]
    flips.sort(key=lambda flip: -np.nan_to_num(flip.margin, nan=np.inf))
    return tuple(flips[:MOST_FLIPS_SHOWN]), len(flips)


def batch_size_table(report: VerificationReport) -> BatchSizeTable:
    """Every rung of every stage that has one."""
    sizes = tuple(sorted({rung.batch_size for stage in report.stages for rung in stage.rungs}))
    rows = []
    for stage in report.stages:
        at = {rung.batch_size: rung for rung in stage.rungs}
        if at:
            rows.append((stage.name, tuple(at.get(size) for size in sizes)))
    return BatchSizeTable(sizes=sizes, rows=tuple(rows))


def batch_tables(report: VerificationReport) -> tuple[BatchTable, ...]:
    """One for each stage whose batches were checked."""
    return tuple(_batch_table(report, stage) for stage in report.stages if stage.batch_checks)


def _batch_table(report: VerificationReport, stage: Stage) -> BatchTable:
    checks = stage.batch_checks
    sizes = tuple(sorted({check.batch_size for check in checks}))
    found = {(check.check, check.batch_size): check for check in checks}
    names = sorted(dict.fromkeys(check.check for check in checks), key=lambda name: (*CHECKS, name).index(name))
    return BatchTable(
        engine=stage.name,
        sizes=sizes,
        rows=tuple((name, tuple(found.get((name, size)) for size in sizes)) for name in names),
        identical_rows=sum(check.identical_rows for check in checks),
        compared_rows=sum(check.rows for check in checks),
        misses=tuple(batch_sentence(report, stage, check) for check in checks if not check),
    )


def depth_rows(stages: Sequence[Stage], order: Sequence[Probe]) -> tuple[DepthRow, ...]:
    """What `stages` have at every probe of `order`."""
    found = [{error.probe: error for error in stage.depth} for stage in stages]
    return tuple(DepthRow(probe=probe, found=tuple(by_probe.get(probe) for by_probe in found)) for probe in order)


def why_no_depth(report: VerificationReport) -> str:
    """The sentence that stands where the drawing would be, when no stage has values inside."""
    measured = [stage.name for stage in report.stages if stage.origin is Origin.MEASURED]
    if not measured:
        return (
            "No stage was measured in this run, and what is recorded at export are logits: "
            "there are no values inside the network to compare."
        )
    return (
        f"{', '.join(measured)} gave logits but no values inside the network, so no error can be drawn over its depth."
    )


def thumbnails(report: VerificationReport) -> tuple[Thumbnail, ...]:
    """The images of the verification, as many as a page should hold."""
    flipped = {
        image_index(report, stage, flip.image) for stage in report.stages for rung in stage.rungs for flip in rung.flips
    }
    images = report.images
    shown = zip(images.names[:MOST_IMAGES_SHOWN], images.pixels, images.best_classes, strict=False)
    return tuple(
        Thumbnail(
            name=name,
            picture=data_uri(pixels, GALLERY_SIDE_PX),
            label=class_name(report, best),
            flipped=place in flipped,
        )
        for place, (name, pixels, best) in enumerate(shown)
    )


def data_uri(pixels: NDArray[np.uint8], side_px: int) -> str:
    """RGB `pixels` (S, S, 3) as a JPEG of at most `side_px`, inside a URI."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((side_px, side_px))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def layer_rows(manifest: Manifest) -> tuple[LayerRow, ...]:
    """Every layer whose cost was measured at the export, the most expensive first; as far as the manifest tells."""
    record = manifest.graph.get("quantization")
    shares = record.get("sqnr_db_of_each_layer_alone") if isinstance(record, Mapping) else None
    if not isinstance(record, Mapping) or not isinstance(shares, Mapping):
        return ()
    kept = record.get("kept_layers")
    rows = (
        LayerRow(path=str(path), sqnr_db=float(share), quantized=not (isinstance(kept, list) and path in kept))
        for path, share in shares.items()
        if isinstance(share, int | float)
    )
    return tuple(sorted(rows, key=lambda row: row.sqnr_db))


def plain_table(record: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Names and values of a record, whatever a manifest may hold there, as text."""
    return tuple((str(name).replace("_", " "), _plain(value)) for name, value in record.items())


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return "none"
    if isinstance(value, list | tuple):
        return "; ".join(_plain(item) for item in value) or "none"
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)

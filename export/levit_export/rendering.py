"""What an export shows: its stages while they run (stderr), then a table of them (stdout), or JSON."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from levit_deploy.decoding import printable
from levit_deploy.parity import decisive_of
from levit_export.pipeline import ExportReport, StageReport
from levit_export.request import ExportRequest, Precision

MOST_LAYERS = 5
"""That are shown of those that were quantised."""

DESCRIPTIONS = {
    "load": "loading weights",
    "fuse": "folding normalisations",
    "trace": "tracing to ONNX",
    "simplify": "simplifying with onnxsim",
    "quantize": "quantising with ONNX Runtime",
    "verify": "verifying every stage against float64",
    "write": "writing the bundle",
}


def descriptions(request: ExportRequest) -> dict[str, str]:
    """What each stage of this export does, by its name and in order."""
    quantized = request.precision is Precision.INT8
    return {name: text for name, text in DESCRIPTIONS.items() if quantized or name != "quantize"}


def print_report(report: ExportReport) -> None:
    """The table of stages, the verdict, where the bundle is, and what to do next."""
    console = Console(highlight=False, markup=False, emoji=False)
    manifest = report.bundle.manifest
    table = Table(title=f"LeViT-{manifest.config.arch}, {manifest.precision}, for {manifest.target}")
    table.add_column("stage")
    for column in ("nodes", "size", "worst error vs fp64", "time"):
        table.add_column(column, justify="right")
    table.add_column("remark")
    for stage in report.stages:
        table.add_row(*map(Text, _cells(stage)))
    console.print(table)
    _print_layers(console, manifest.graph.get("quantization", {}))
    worst = decisive_of(report.rungs)
    sizes = ", ".join(str(size) for size in manifest.batch_sizes.verified)
    console.print(
        f"Verified: {len(report.rungs)} rungs (batch {sizes}) on {len(manifest.golden_tolerance)} golden images; "
        f"the worst error is {worst.bound_share:.0%} of what rounding allows."
    )
    path = printable(str(report.bundle.path))
    console.print(f"Bundle:   {path}", soft_wrap=True)
    console.print(f"Next:     levit-classify {shlex.quote(path)} photo.jpg", soft_wrap=True)


def _print_layers(console: Console, quantization: Mapping[str, Any]) -> None:
    """What the layers cost that cost the most, where that was measured; those that were kept are the first."""
    shares: Mapping[str, float] = quantization.get("sqnr_db_of_each_layer_alone", {})
    if not shares:
        return
    kept = quantization["kept_layers"]
    table = Table(title=f"Layers by what each alone costs, {len(shares)} in all")
    for column in ("layer", "quantised"):
        table.add_column(column)
    table.add_column("signal to error", justify="right")
    for path in sorted(shares, key=lambda path: shares[path])[: len(kept) + MOST_LAYERS]:
        table.add_row(path, "no, kept" if path in kept else "yes", f"{shares[path]:.1f} dB")
    console.print(table)


def _cells(stage: StageReport) -> tuple[str, ...]:
    return (
        stage.name,
        "" if stage.nodes is None else str(stage.nodes),
        "" if stage.size_bytes is None else f"{stage.size_bytes / 1e6:.1f} MB",
        "" if stage.max_abs_error is None else f"{stage.max_abs_error:.2e}",
        f"{stage.seconds:.1f} s",
        stage.detail,
    )


def document(report: ExportReport) -> dict[str, Any]:
    """The same for machines."""
    return {
        "bundle": str(report.bundle.path),
        "verdict": "pass",
        "notes": list(report.notes),
        "stages": [_stage_document(stage) for stage in report.stages],
        "rungs": [rung.to_json() for rung in report.rungs],
        "manifest": report.bundle.manifest.to_json(),
    }


def _stage_document(stage: StageReport) -> dict[str, Any]:
    error = stage.max_abs_error
    return {
        "name": stage.name,
        "seconds": round(stage.seconds, 3),
        "nodes": stage.nodes,
        "size_bytes": stage.size_bytes,
        "max_abs_error": error if error is None or math.isfinite(error) else str(error),
        "detail": stage.detail,
    }

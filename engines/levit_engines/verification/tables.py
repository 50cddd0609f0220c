"""The report of a verification as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from levit_deploy.decoding import printable
from levit_deploy.metamorphic import BatchCheck
from levit_engines.verification.figures import agreement_text, share_text
from levit_engines.verification.findings import class_name, findings, image_name
from levit_engines.verification.report import Origin, Stage, VerificationReport

RECORDED_MARK = "*"
MOST_COLUMNS = 12


def print_report(report: VerificationReport, *, page: Path | None) -> None:
    """The ladder, the hops, the batches, what failed and why, the verdict; `page` is where the HTML page is."""
    console = Console(highlight=False, markup=False, emoji=False)
    manifest = report.bundle.manifest
    console.print(Text(f"LeViT-{manifest.config.arch}, {manifest.precision}: {printable(manifest.name)}", style="bold"))
    console.print(f"Truth:    {printable(report.truth)}", soft_wrap=True)
    console.print(f"Images:   {len(report.images.names)}, {printable(report.images.source)}", soft_wrap=True)
    for stage in report.stages:
        if stage.provenance is not None:
            console.print(f"Engine:   {printable(_engine(stage.provenance))}", soft_wrap=True)
    for table in (_ladder(report), _hops(report), *(_batches(stage) for stage in report.stages if stage.batch_checks)):
        console.print()
        console.print(table.title, soft_wrap=True)
        table.title = None
        console.print(table)
    console.print()
    for sentence in _flips(report):
        console.print(f"flip: {printable(sentence)}", soft_wrap=True)
    for finding in findings(report):
        for sentence in finding.sentences:
            text = f"{finding.stage}: {sentence}" if finding.stage else sentence
            console.print(Text(f"✗ {printable(text)}", style="red"), soft_wrap=True)
    seconds = sum(report.seconds.values())
    recorded = sum(stage.origin is Origin.RECORDED for stage in report.stages)
    verdict = "holds: no stage is further from float64 than rounding explains" if report else "MISSED"
    if recorded:
        verdict += f", {recorded} of them as recorded at export"
    console.print(Text(f"Verdict:  {verdict} ({seconds:.1f} s)", style="bold green" if report else "bold red"))
    if page is not None:
        console.print(f"Report:   {printable(str(page))}", soft_wrap=True)


def _engine(provenance: Mapping[str, str]) -> str:
    """Name, version, threads and file of an engine, as far as they are known."""
    details = [f"{name} {provenance[name]}" for name in ("threads", "graph") if name in provenance]
    return ", ".join([f"{provenance['engine']} {provenance.get('engine_version', '')}".strip(), *details])


def _flips(report: VerificationReport) -> Iterator[str]:
    """One sentence for each image whose best class changed."""
    for stage in report.stages:
        for flip in () if stage.decisive is None else stage.decisive.flips:
            yield (
                f"{stage.name}: {image_name(report, stage, flip.image)} is {class_name(report, flip.candidate_class)} "
                f"instead of {class_name(report, flip.reference_class)}, which lie {flip.margin:.3g} apart in float64"
            )


def _ladder(report: VerificationReport) -> Table:
    table = _table("Parity ladder: every stage against float64")
    table.add_column("", no_wrap=True)
    table.add_column("stage", no_wrap=True)
    for column in ("max abs", "bound", "share", "rel. L2", "dB"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("worst image", max_width=12, no_wrap=True)
    for column in ("top-1", "top-5", "flips"):
        table.add_column(column, justify="right", no_wrap=True)
    for stage in report.stages:
        table.add_row(_mark(holds=bool(stage)), *(Text(cell) for cell in _ladder_cells(stage, report)))
    table.caption = "share: of what rounding allows; dB: signal to noise"
    if any(stage.origin is Origin.RECORDED for stage in report.stages):
        table.caption += f"; {RECORDED_MARK} recorded when the bundle was made"
    table.caption_justify = "left"
    return table


def _ladder_cells(stage: Stage, report: VerificationReport) -> tuple[str, ...]:
    rung = stage.decisive
    if rung is None:
        return (stage.name, "not run", *("",) * 8)
    return (
        printable(stage.name) + (RECORDED_MARK if stage.origin is Origin.RECORDED else ""),
        f"{rung.max_abs_error:.1e}",
        f"{rung.bound:.1e}",
        share_text(rung.bound_share),
        f"{rung.relative_l2:.1e}",
        f"{rung.sqnr_db:.0f}",
        printable(image_name(report, stage, rung.worst_image)),
        agreement_text(rung.top1_agreement),
        agreement_text(rung.top5_overlap),
        str(len(rung.flips)),
    )


def _hops(report: VerificationReport) -> Table:
    table = _table("Hop by hop: every stage against the one before it")
    table.add_column("", no_wrap=True)
    table.add_column("hop", no_wrap=True)
    for column in ("max abs", "share", "dB", "top-1", "flips"):
        table.add_column(column, justify="right", no_wrap=True)
    for stage in report.stages:
        hop = stage.worst_hop
        if hop is not None:
            table.add_row(
                _mark(holds=bool(hop)),
                Text(printable(f"{hop.previous} → {stage.name}")),
                f"{hop.max_abs_error:.1e}",
                share_text(hop.bound_share),
                f"{hop.sqnr_db:.0f}",
                agreement_text(hop.top1_agreement),
                str(hop.flips),
            )
    return table


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0, show_edge=False)


def _batches(stage: Stage) -> Table:
    """Checks by batch size, a column each up to a dozen sizes, then only the worst of all."""
    sizes = sorted({check.batch_size for check in stage.batch_checks})
    columns = [(str(size), [size]) for size in sizes] if len(sizes) <= MOST_COLUMNS else [("worst of all", sizes)]
    table = _table(f"Batches on {stage.name}: largest difference to the image alone, of what rounding allows")
    table.add_column("batch size", no_wrap=True)
    for title, _ in columns:
        table.add_column(title, justify="right", no_wrap=True)
    for name in dict.fromkeys(check.check for check in stage.batch_checks):
        mine = [check for check in stage.batch_checks if check.check == name]
        table.add_row(name, *(_worst([check for check in mine if check.batch_size in group]) for _, group in columns))
    return table


def _worst(checks: Sequence[BatchCheck]) -> Text:
    if not checks:
        return Text("")
    misses = [check for check in checks if not check]
    share = misses[0].worst_share if misses else max(check.worst_share for check in checks)
    return Text("same" if share == 0.0 else share_text(share), style="red" if misses else "")


def _mark(*, holds: bool) -> Text:
    return Text("✓", style="green") if holds else Text("✗", style="red")

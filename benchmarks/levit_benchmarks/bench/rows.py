"""The cells of a run's tables as text, the same on the terminal, in the page and in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from levit_benchmarks.bench.figures import UNKNOWN, mebibytes, ratio, significant, span
from levit_benchmarks.bench.record import ColdStart, EndToEnd, Group, MachineLimit
from levit_benchmarks.bench.summary import CandidateSummary, pair_verdicts

BASELINE = "baseline"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRow:
    """Medians by stage over `count` samples of one candidate, and of their sums, with the smallest and largest sum."""

    name: str
    threads: int
    count: int
    medians: Mapping[str, float]
    total: float
    smallest: float
    largest: float


def percentiles_of(summaries: Iterable[CandidateSummary]) -> tuple[float, ...]:
    """Every percentile that at least one of them carries, in order."""
    return tuple(sorted({percentile for summary in summaries for percentile in summary.percentiles_ms}))


def speed_columns(summaries: Sequence[CandidateSummary]) -> tuple[str, ...]:
    """What `speed_cells` are; a column for the GPU's own time only where a GPU told it."""
    return (
        *(f"p{percentile:g}, ms" for percentile in percentiles_of(summaries)),
        *(("GPU p50, ms",) if _any_gpu(summaries) else ()),
        "images/s",
        "CPU ms/image",
        "MiB",
    )


def speed_cells(summary: CandidateSummary, summaries: Sequence[CandidateSummary]) -> tuple[str, ...]:
    """Latency, throughput, CPU time and peak memory of one of the candidates of a table."""
    return (
        *(significant(summary.percentiles_ms.get(percentile)) for percentile in percentiles_of(summaries)),
        *((significant(summary.gpu_p50_ms),) if _any_gpu(summaries) else ()),
        significant(summary.images_per_s),
        significant(1e3 * summary.cpu_s_per_image),
        mebibytes(summary.peak_rss_bytes),
    )


def _any_gpu(summaries: Iterable[CandidateSummary]) -> bool:
    return any(summary.gpu_p50_ms is not None for summary in summaries)


def verdict_word(summary: CandidateSummary) -> str:
    """Faster, slower, cannot tell; or that it is the baseline itself."""
    return BASELINE if summary.verdict is None else summary.verdict.outcome


def limit_table(limits: Sequence[MachineLimit]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Columns and rows of what the machine can do at most, in thousand millions a second."""
    precisions = tuple(dict.fromkeys(precision for limit in limits for precision in limit.flops))
    columns = ("threads", *(f"{precision}, Gop/s" for precision in precisions), "memory, GB/s")
    rows = tuple(
        (
            str(limit.threads),
            *(significant(limit.flops[name] / 1e9) if name in limit.flops else UNKNOWN for name in precisions),
            significant(limit.bytes_s / 1e9),
        )
        for limit in limits
    )
    return columns, rows


def pair_table(group: Group) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Columns and rows of all pairs: the time of the row's candidate over that of the column's, and the verdict."""
    names, verdicts = [candidate.name for candidate in group.candidates], pair_verdicts(group)

    def cell(name: str, other: str) -> str:
        verdict = verdicts.get((name, other))
        return UNKNOWN if verdict is None else f"{ratio(verdict.ratio)} {verdict.outcome}"

    return ("candidate", *names), tuple((name, *(cell(name, other) for other in names)) for name in names)


def cold_start_rows(cold_starts: Sequence[ColdStart]) -> tuple[StageRow, ...]:
    """Seconds by stage."""
    return tuple(_stage_row(one.candidate.name, one.threads, one.stages_s, 1.0) for one in cold_starts)


def end_to_end_rows(runs: Sequence[EndToEnd]) -> tuple[StageRow, ...]:
    """Milliseconds by stage, a row for each photograph."""
    return tuple(
        _stage_row(f"{one.candidate.name}, {one.photograph}", one.threads, one.stages_ns, 1e-6) for one in runs
    )


def _stage_row(name: str, threads: int, samples: Sequence[Mapping[str, float]], unit: float) -> StageRow:
    totals = [unit * sum(sample.values()) for sample in samples]
    return StageRow(
        name=name,
        threads=threads,
        count=len(samples),
        medians={stage: unit * median(sample[stage] for sample in samples) for stage in samples[0]},
        total=median(totals),
        smallest=min(totals),
        largest=max(totals),
    )


def stage_table(stage_rows: Sequence[StageRow]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Columns and rows: each stage, their sum, the smallest to the largest sum."""
    stages = tuple(dict.fromkeys(stage for row in stage_rows for stage in row.medians))
    columns = ("candidate", "threads", "samples", *stages, "sum", "smallest to largest")
    rows = tuple(
        (
            row.name,
            str(row.threads),
            str(row.count),
            *(significant(row.medians.get(stage)) for stage in stages),
            significant(row.total),
            span(significant(row.smallest), significant(row.largest)),
        )
        for row in stage_rows
    )
    return columns, rows

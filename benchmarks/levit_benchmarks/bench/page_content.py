"""What the page of a run shows, as values, in the order of the page."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from levit_benchmarks.bench import findings, rows
from levit_benchmarks.bench.figures import counted, percent, ratio_with_interval
from levit_benchmarks.bench.plots import Drawing
from levit_benchmarks.bench.record import Candidate, Group, RunRecord
from levit_benchmarks.bench.summary import CANNOT_TELL, CandidateSummary, summarize

FEWEST_PAIRED = 3  # two candidates are one pair, which their own table has


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One candidate; `share` is a number for the bar behind its text, `verdict` a word."""

    name: str
    remark: str
    cells: tuple[str, ...]
    share: float | None
    share_text: str
    ratio: str
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupView:
    """One group: its table, what is to be said of it, and its drawings."""

    anchor: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    noise: tuple[str, ...]
    drawings: tuple[Drawing, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A plain table; the first column holds names."""

    anchor: str
    title: str
    explanation: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def group_views(record: RunRecord, drawings: Sequence[Drawing]) -> tuple[GroupView, ...]:
    """Every group of the run, with those of `drawings` that are of it."""
    titles = findings.group_titles(record.groups)
    return tuple(
        _group_view(group, summarize(group, record.limits), f"group-{place}", title, drawings)
        for place, (group, title) in enumerate(zip(record.groups, titles, strict=True), start=1)
    )


def _group_view(
    group: Group, summaries: Sequence[CandidateSummary], anchor: str, title: str, drawings: Sequence[Drawing]
) -> GroupView:
    sessions = findings.sessions_sentence(group)
    place = anchor.rpartition("-")[2]
    notes = (
        findings.conditions_sentence([one.conditions for one in group.rounds]),
        findings.spread_sentence(summaries),
        *((sessions,) if sessions else ()),
    )
    return GroupView(
        anchor=anchor,
        title=title[:1].upper() + title[1:],
        columns=rows.speed_columns(summaries),
        rows=tuple(
            _row(candidate, summary, summaries) for candidate, summary in zip(group.candidates, summaries, strict=True)
        ),
        notes=notes,
        noise=findings.noise_sentences(group, summaries),
        drawings=tuple(drawing for drawing in drawings if drawing.name.rpartition("-")[2] == place),
    )


def _row(candidate: Candidate, summary: CandidateSummary, summaries: Sequence[CandidateSummary]) -> Row:
    return Row(
        name=summary.name,
        remark=f"{candidate.network}, {candidate.engine}, {candidate.precision}, {summary.count} calls",
        cells=rows.speed_cells(summary, summaries),
        share=summary.share_of_limit,
        share_text=percent(summary.share_of_limit),
        ratio="" if summary.verdict is None else ratio_with_interval(summary.verdict),
        verdict=rows.verdict_word(summary),
    )


def headline(views: Sequence[GroupView]) -> str:
    """One sentence: how many comparisons there are, and how many of them could be decided."""
    verdicts = Counter(row.verdict for view in views for row in view.rows if row.verdict != rows.BASELINE)
    if not verdicts:
        return f"{counted(len(views), 'setting')}, nothing to compare"
    undecided = verdicts[CANNOT_TELL]
    return (
        f"{counted(verdicts.total(), 'comparison')} in {counted(len(views), 'setting')}: "
        f"{verdicts.total() - undecided} decided, {undecided} that this run cannot tell apart"
    )


def tables(record: RunRecord) -> tuple[Table, ...]:
    """All pairs, cold starts, the way from a JPEG to its classes, and the machine's limits, as far as measured."""
    made = []
    titles = findings.group_titles(record.groups)
    for place, (group, title) in enumerate(zip(record.groups, titles, strict=True), start=1):
        if len(group.candidates) < FEWEST_PAIRED:
            continue
        columns, lines = rows.pair_table(group)
        made.append(
            Table(
                anchor=f"pairs-{place}",
                title=f"Every pair: {title}",
                explanation="Time of the row's candidate over that of the column's: below 1 the row's takes less.",
                columns=columns,
                rows=lines,
            )
        )
    if record.cold_starts:
        columns, lines = rows.stage_table(rows.cold_start_rows(record.cold_starts))
        made.append(
            Table(
                anchor="cold",
                title="Cold start",
                explanation="Fresh processes, from their start to their first answer: median seconds of each stage.",
                columns=columns,
                rows=lines,
            )
        )
    if record.end_to_end:
        columns, lines = rows.stage_table(rows.end_to_end_rows(record.end_to_end))
        made.append(
            Table(
                anchor="end-to-end",
                title="From a JPEG to its classes",
                explanation="One image at a time, a row for each photograph: median milliseconds of each stage.",
                columns=columns,
                rows=lines,
            )
        )
    if record.limits:
        columns, lines = rows.limit_table(record.limits)
        explanation = "Measured in the same run; a multiply-accumulate is two operations."
        made.append(
            Table(
                anchor="limits",
                title="What this machine can do at most",
                explanation=f"{explanation} {'; '.join(findings.limit_methods(record.limits))}",
                columns=columns,
                rows=lines,
            )
        )
    return tuple(made)


def plain_table(table: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Names and values of whatever a file may hold there, as text."""
    return tuple((str(name).replace("_", " "), _plain(value)) for name, value in table.items())


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value)) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(item)}" for name, item in value.items()) or "none"
    return json.dumps(value, ensure_ascii=False, default=str)

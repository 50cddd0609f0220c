"""The tables of a run for a terminal of 120 columns."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from levit_benchmarks.bench import findings, rows
from levit_benchmarks.bench.figures import UNKNOWN, percent, ratio_with_interval
from levit_benchmarks.bench.record import Candidate, Group, MachineLimit, RunRecord
from levit_benchmarks.bench.summary import FASTER, SLOWER, CandidateSummary, summarize
from levit_deploy.decoding import printable

STYLES = {FASTER: "green", SLOWER: "red"}
HASH_CHARACTERS = 12
COLUMNS = 120
"""What the tables need: a narrower terminal breaks their lines, where a narrower table would lose its names."""


def wide_console(*, highlight: bool = True) -> Console:
    """A console on stdout of COLUMNS columns at least."""
    console = Console(highlight=highlight)
    console.width = max(COLUMNS, console.width)
    return console


def print_tables(record: RunRecord, console: Console) -> None:
    """Everything a run found: the machine and its limits, each group, cold starts, end to end, what was timed."""
    _say(console, f"Machine:  {findings.machine_sentence(record.environment)}")
    _say(console, f"Versions: {findings.packages_sentence(record.environment)}")
    if record.limits:
        _print_table(console, "What this machine can do at most", _plain(*rows.limit_table(record.limits)))
        for method in findings.limit_methods(record.limits):
            _say(console, method)
    for group, title in zip(record.groups, findings.group_titles(record.groups), strict=True):
        _print_group(console, group, title, record.limits)
    if record.cold_starts:
        title = "Cold start, fresh processes: median seconds by stage"
        _print_table(console, title, _plain(*rows.stage_table(rows.cold_start_rows(record.cold_starts))))
    if record.end_to_end:
        title = "From a JPEG to its classes, one at a time: median milliseconds by stage"
        _print_table(console, title, _plain(*rows.stage_table(rows.end_to_end_rows(record.end_to_end))))
    for sentence in findings.failure_sentences(record):
        _say(console, f"✗ {sentence}", style="red")
    candidates = findings.candidates_of(record)
    if candidates:
        _print_table(console, "What was timed, after its outputs were checked", _candidates(candidates))


def _print_group(console: Console, group: Group, title: str, limits: tuple[MachineLimit, ...]) -> None:
    summaries = summarize(group, limits)
    _print_table(console, title[:1].upper() + title[1:], _group(summaries))
    ratios = "Ratio: time against the baseline, below 1 is faster; median of the rounds' own ratios, 95 % interval"
    _say(console, f"{ratios}. Of limit: share of the measured peak")
    _say(console, f"Conditions: {findings.conditions_sentence([one.conditions for one in group.rounds])}")
    _say(console, findings.spread_sentence(summaries))
    if sessions := findings.sessions_sentence(group):
        _say(console, sessions)
    for sentence in findings.noise_sentences(group, summaries):
        _say(console, f"! {sentence}", style="yellow")


def _group(summaries: Sequence[CandidateSummary]) -> Table:
    table = _table()
    _name_column(table, "candidate")
    for column in (*rows.speed_columns(summaries), "of limit"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("ratio", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for summary in summaries:
        word = rows.verdict_word(summary)
        table.add_row(
            _text(summary.name),
            *rows.speed_cells(summary, summaries),
            percent(summary.share_of_limit),
            ratio_with_interval(summary.verdict),
            Text(word, style=STYLES.get(word, "")),
        )
    return table


def _plain(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> Table:
    """A name, then figures."""
    table = _table()
    _name_column(table, columns[0])
    for column in columns[1:]:
        table.add_column(_text(column), justify="right", overflow="fold")
    for line in lines:
        table.add_row(*map(_text, line))
    return table


def _candidates(candidates: Sequence[Candidate]) -> Table:
    table = _table()
    _name_column(table, "candidate")
    for column in ("network", "engine", "precision", "px", "MMACs", "sha256", "checked"):
        table.add_column(column, overflow="fold", justify="right" if column in ("px", "MMACs") else "left")
    for one in candidates:
        table.add_row(
            _text(one.name),
            _text(one.network),
            _text(f"{one.engine} {one.engine_version}"),
            _text(one.precision),
            str(one.image_size),
            UNKNOWN if one.macs is None else f"{one.macs / 1e6:.0f}",
            _text(one.timed_sha256[:HASH_CHARACTERS]),
            _text(one.checked),
        )
    return table


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False, collapse_padding=True)


def _name_column(table: Table, title: str) -> None:
    table.add_column(title, overflow="fold")


def _text(text: str) -> Text:
    """Never markup, whatever it says: names come from files."""
    return Text(printable(text))


def _print_table(console: Console, title: str, table: Table) -> None:
    console.print()
    console.print(Text(printable(title), style="bold"))
    console.print(table)


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(Text(printable(text), style=style))

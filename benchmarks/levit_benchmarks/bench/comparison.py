"""`levit-bench compare`: two runs side by side, row by row: faster, slower, or cannot tell.

Rounds of two runs are not pairs, so each row is judged by the Mann-Whitney U test on the rounds' times: the interval of
the ratio holds every factor that the test does not rule out. All rounds of a run share one process and one hour of the
machine, which the test cannot know: differences up to BETWEEN_RUNS are never called. What differs beside the times is
said first.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from levit_benchmarks.bench import findings
from levit_benchmarks.bench.document import read_record
from levit_benchmarks.bench.figures import counted, ratio, significant
from levit_benchmarks.bench.record import Candidate, RunRecord
from levit_benchmarks.bench.summary import CANNOT_TELL, FASTER, SLOWER, round_times_s
from levit_benchmarks.bench.tables import wide_console
from levit_benchmarks.bench.two_samples import ratio_interval
from levit_deploy.commandline import make_parser, print_json, run_command
from levit_deploy.decoding import printable
from levit_deploy.errors import InputError

PROGRAM = "levit-bench compare"
BETWEEN_RUNS = 0.05
"""Two runs of the very same may differ by this much; candidates of one run are told apart far more finely."""
# The machine's own peak may differ by this much before a reader is told.
PEAK_TOLERANCE = 0.05
STYLES = {FASTER: "green", SLOWER: "red"}
MOST_NAMES, _SHOWN_CHARACTERS = 3, 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The times of one candidate under one setting, a number for each round or process, in milliseconds an image."""

    setting: str
    candidate: Candidate
    times_ms: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One series in both runs; `ratio` is the second median over the first, its interval None with too few times."""

    setting: str
    name: str
    before_ms: float
    after_ms: float
    ratio: float
    low: float | None
    high: float | None
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Rows that both runs have, what else differs, and the rows of only one of them."""

    rows: tuple[Row, ...]
    warnings: tuple[str, ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]

    def slower_than(self, percent: float) -> tuple[Row, ...]:
        """Rows that are slower, and by more than `percent`."""
        return tuple(row for row in self.rows if row.outcome == SLOWER and row.ratio > 1 + percent / 100)


def compare(before: RunRecord, after: RunRecord) -> Comparison:
    """Every series of `before` beside the one of the same name and setting in `after`."""
    first, second = _by_place(before), _by_place(after)
    pairs = [(first[key], second[key]) for key in first if key in second]
    return Comparison(
        rows=tuple(_row(*pair) for pair in pairs),
        warnings=tuple(dict.fromkeys(_warnings(before, after, pairs))),
        only_before=tuple(f"{name} ({setting})" for setting, name in first if (setting, name) not in second),
        only_after=tuple(f"{name} ({setting})" for setting, name in second if (setting, name) not in first),
    )


def _by_place(record: RunRecord) -> dict[tuple[str, str], Series]:
    """The series by setting and name; one that was measured twice under a setting says so in it."""
    found: dict[tuple[str, str], Series] = {}
    for series in _series(record):
        again = 1
        while (series.setting, series.candidate.name) in found:
            again += 1
            setting = f"{series.setting.removesuffix(f' ({again - 1})')} ({again})"
            series = replace(series, setting=setting)
        found[series.setting, series.candidate.name] = series
    return found


def _series(record: RunRecord) -> Iterator[Series]:
    """Everything in a run that has a time of its own."""
    for group in record.groups:
        for candidate in group.candidates:
            times = tuple(1e3 * time_s for time_s in round_times_s(group, candidate.name))
            yield Series(setting=findings.setting(group), candidate=candidate, times_ms=times)
    for cold in record.cold_starts:
        times = tuple(1e3 * sum(stages.values()) for stages in cold.stages_s)
        yield _stage_series("cold start", cold.candidate, cold.threads, times)
    for end in record.end_to_end:
        times = tuple(1e-6 * sum(stages.values()) for stages in end.stages_ns)
        yield _stage_series(f"end to end, {end.photograph}", end.candidate, end.threads, times)


def _stage_series(what: str, candidate: Candidate, threads: int, times_ms: tuple[float, ...]) -> Series:
    return Series(setting=f"{what}, {counted(threads, 'thread')}", candidate=candidate, times_ms=times_ms)


def _row(before: Series, after: Series) -> Row:
    first, second = median(before.times_ms), median(after.times_ms)
    interval = ratio_interval(before.times_ms, after.times_ms)
    outcome = CANNOT_TELL
    if interval is not None and interval[0] > 1 + BETWEEN_RUNS:
        outcome = SLOWER
    elif interval is not None and interval[1] < 1 / (1 + BETWEEN_RUNS):
        outcome = FASTER
    low, high = (None, None) if interval is None else interval
    return Row(
        setting=before.setting,
        name=before.candidate.name,
        before_ms=first,
        after_ms=second,
        ratio=second / first,
        low=low,
        high=high,
        outcome=outcome,
    )


def _warnings(before: RunRecord, after: RunRecord, pairs: Sequence[tuple[Series, Series]]) -> Iterator[str]:
    """What makes the two runs differ beside what is compared."""
    for name in ("machine", "packages"):
        yield from _differences(name, before.environment.get(name), after.environment.get(name))
    yield from _difference("revision", before.environment.get("revision"), after.environment.get("revision"))
    yield from _differences("settings", before.settings, after.settings)
    yield from _limit_warnings(before, after)
    yield from _session_warnings(before, after)
    for first, second in pairs:
        mine, theirs = asdict(first.candidate), asdict(second.candidate)
        yield from _differences(first.candidate.name, mine.pop("details"), theirs.pop("details"))
        yield from _differences(first.candidate.name, mine, theirs)


def _differences(where: str, before: object, after: object) -> Iterator[str]:
    first, second = (value if isinstance(value, Mapping) else {} for value in (before, after))
    for name in dict.fromkeys((*first, *second)):
        yield from _difference(f"{where}: {name}", first.get(name), second.get(name))


def _difference(where: str, before: object, after: object) -> Iterator[str]:
    if before != after:
        yield f"{where} differs: {_shown(before)}, then {_shown(after)}"


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    text = text if value is not None else "nothing"
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 1]}…"


def _limit_warnings(before: RunRecord, after: RunRecord) -> Iterator[str]:
    """Where the machine itself was faster or slower: then no row says much about what ran on it."""
    peaks = [
        {
            (f"{limit.threads}", what): rate
            for limit in record.limits
            for what, rate in (*limit.flops.items(), ("memory", limit.bytes_s))
        }
        for record in (before, after)
    ]
    for (threads, what), rate in peaks[0].items():
        change = peaks[1].get((threads, what), rate) / rate - 1
        if abs(change) > PEAK_TOLERANCE:
            yield (
                f"the machine itself: its {what} peak with {counted(int(threads), 'thread')} is {abs(change):.0%} "
                f"{'higher' if change > 0 else 'lower'} in the second run"
            )


def _session_warnings(before: RunRecord, after: RunRecord) -> Iterator[str]:
    used = [
        {(findings.setting(group), name): one for group in record.groups for name, one in group.sessions.items()}
        for record in (before, after)
    ]
    for (title, name), first in used[0].items():
        second = used[1].get((title, name), first)
        if first != second:
            yield f"{name} ({title}) ran {findings.sessions_text(first)}, then {findings.sessions_text(second)}"


def print_comparison(comparison: Comparison, console: Console) -> None:
    """What differs, then a line for each row."""
    for warning in comparison.warnings:
        console.print(Text(f"! {printable(warning)}", style="yellow"))
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for title in ("setting", "candidate"):
        table.add_column(title, overflow="fold")
    for title in ("first, ms", "second, ms"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("second / first", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for row in comparison.rows:
        table.add_row(
            Text(printable(row.setting)),
            Text(printable(row.name)),
            significant(row.before_ms),
            significant(row.after_ms),
            _ratio(row),
            Text(row.outcome, style=STYLES.get(row.outcome, "")),
        )
    console.print(table)
    for where, names in (("first", comparison.only_before), ("second", comparison.only_after)):
        if names:
            console.print(Text(printable(f"Only in the {where} run: {', '.join(names)}")))
    sentence = (
        "Milliseconds an image, medians of the rounds; below 1 the second run is faster. Differences up to "
        f"{BETWEEN_RUNS:.0%} are not called: for those, time both in one run."
    )
    console.print(Text(sentence))


def _ratio(row: Row) -> str:
    if row.low is None or row.high is None:
        return f"{ratio(row.ratio)} (too few times)"
    return f"{ratio(row.ratio)} ({ratio(row.low)} to {ratio(row.high)})"


def _run(options: argparse.Namespace) -> int:
    comparison = compare(read_record(options.before), read_record(options.after))
    if not comparison.rows:
        raise InputError(
            f"{options.before} and {options.after} have no candidate under the same scenario, batch and threads in "
            f"common: the first has {_some(comparison.only_before)}; the second {_some(comparison.only_after)}"
        )
    too_slow = () if options.fail_slower is None else comparison.slower_than(options.fail_slower)
    if options.json:
        files = {"before": str(options.before), "after": str(options.after)}
        limit = {"fail_slower_percent": options.fail_slower, "too_slow": [asdict(row) for row in too_slow]}
        print_json(files | asdict(comparison) | limit)
    else:
        console = wide_console(highlight=False)
        print_comparison(comparison, console)
        for row in too_slow:
            text = (
                f"✗ {row.name} ({row.setting}) is slower by {row.ratio - 1:.1%}, allowed are {options.fail_slower:g}%"
            )
            console.print(Text(printable(text), style="red"))
    return 1 if too_slow else 0


def _some(names: Sequence[str]) -> str:
    return ", ".join([*names[:MOST_NAMES], "…"] if len(names) > MOST_NAMES else names) or "none"


def _percent(text: str) -> float:
    """An argparse `type`: a finite number of at least 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a percentage of at least 0")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; exit code 1 where --fail-slower says so."""
    parser = make_parser(
        PROGRAM,
        "Set two runs of levit-bench side by side: what is faster, what slower, what cannot be told.",
        f"{PROGRAM} before.json after.json --fail-slower 5",
    )
    parser.add_argument("before", type=Path, metavar="A.json", help="the first run, as levit-bench wrote it")
    parser.add_argument("after", type=Path, metavar="B.json", help="the second run")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of tables")
    parser.add_argument(
        "--fail-slower", type=_percent, metavar="PERCENT", help="exit code 1 when anything is slower by more than this"
    )
    options = parser.parse_args(arguments)
    return run_command(PROGRAM, lambda: _run(options))

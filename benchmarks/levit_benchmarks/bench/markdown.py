"""The tables of committed runs in Markdown: a section for the page of results, and a short one for the README.

`tools/make_results_page.py` writes them; no figure in either document is typed by hand.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

from levit_benchmarks.bench import findings, rows
from levit_benchmarks.bench.figures import percent, ratio_with_interval
from levit_benchmarks.bench.record import SINGLE_STREAM, Candidate, Group, MachineLimit, RunRecord
from levit_benchmarks.bench.summary import CandidateSummary, summarize
from levit_deploy.decoding import printable

BEGIN = "<!-- levit-bench: begin; written by tools/make_results_page.py from benchmarks/results -->"
END = "<!-- levit-bench: end -->"
_SPECIAL = re.compile(r"([\\`*_\[\]|~$])")


def section(record: RunRecord, name: str) -> str:
    """All tables of the run in the file `name`.json, under a heading of its own."""
    lines = [
        f"## levit-bench: {_escaped(name)}",
        "",
        *_paragraph(f"Machine: {findings.machine_sentence(record.environment)}"),
        *_paragraph(findings.packages_sentence(record.environment)),
        *_limit_lines(record.limits),
    ]
    for group, title in zip(record.groups, findings.group_titles(record.groups), strict=True):
        lines += _group_lines(group, title, record.limits)
    if record.cold_starts:
        lines += ["Cold start, fresh processes: median seconds by stage:", ""]
        lines += [*_escaped_table(*rows.stage_table(rows.cold_start_rows(record.cold_starts))), ""]
    if record.end_to_end:
        lines += ["From a JPEG to its classes, one at a time: median milliseconds by stage:", ""]
        lines += [*_escaped_table(*rows.stage_table(rows.end_to_end_rows(record.end_to_end))), ""]
    lines += [f"- {_escaped(sentence)}." for sentence in findings.failure_sentences(record)]
    lines += [""] if record.failed else []
    checked = [
        [_escaped(one.name), _escaped(f"{one.engine} {one.engine_version}"), _escaped(one.checked), _hash(one)]
        for one in findings.candidates_of(record)
    ]
    lines += ["What was timed, after its outputs were checked:", ""]
    lines += [*_table(["candidate", "engine", "checked", "sha256"], checked), ""]
    return "\n".join([*lines, f"Samples: [{_escaped(name)}.json]({name}.json).", ""])


def readme_block(runs: Sequence[tuple[str, RunRecord]], pictures: Iterable[str], folder: str) -> str:
    """What the README says of `runs`, by name: of each its first single-stream group; empty when there are none.

    `pictures` are names of plots; they and the page of results lie in `folder`.
    """
    if not runs:
        return ""
    lines = ["### Measured", ""]
    for picture in pictures:
        alternative = "Published top-1 over measured latency of the five variants"
        lines += [f"![{alternative}]({folder}/{picture})", ""]
    for name, record in runs:
        lines += _readme_run(name, record, folder)
    lines += [
        "The ratio is of time to the baseline, the median of the rounds' own ratios with the 95 % interval: below 1 is",
        "faster. Of limit: what the network's multiply-accumulates would take at this machine's measured peak, over",
        f"what they took. All tables, conditions and what was too noisy to decide: [{folder}]({folder}/README.md).",
        "",
    ]
    return "\n".join(lines)


def fill(text: str, block: str) -> str:
    """`text` with `block` between its markers; without markers, before its second heading; no block, no markers."""
    begin, end = text.find(BEGIN), text.find(END)
    if (begin < 0) != (end < 0) or end < begin:
        raise ValueError("the markers of levit-bench are not a pair: put both in, or take both out")
    if begin >= 0:
        text = text[:begin] + text[end + len(END) :].removeprefix("\n").removeprefix("\n")
    elif (begin := text.find("\n## ") + 1) == 0:
        begin = len(text)
    return f"{text[:begin]}{BEGIN}\n{block}{END}\n\n{text[begin:]}" if block else text


def _readme_run(name: str, record: RunRecord, folder: str) -> list[str]:
    places = [
        place for place, group in enumerate(record.groups) if group.scenario == SINGLE_STREAM and group.batch == 1
    ] or list(range(len(record.groups)))
    if not places:
        return []
    group, title = record.groups[places[0]], findings.group_titles(record.groups)[places[0]]
    heading = f"{title[:1].upper()}{title[1:]}, on {findings.machine_sentence(record.environment)}"
    samples = f"[samples]({folder}/{name}.json)"
    return [f"{_escaped(heading)}; {samples}:", "", *_group_table(summarize(group, record.limits)), ""]


def _group_lines(group: Group, title: str, limits: tuple[MachineLimit, ...]) -> list[str]:
    summaries = summarize(group, limits)
    lines = [f"### {_escaped(title[:1].upper() + title[1:])}", "", *_group_table(summaries), ""]
    sentences = [
        findings.conditions_sentence([one.conditions for one in group.rounds]),
        findings.spread_sentence(summaries),
        findings.sessions_sentence(group),
        *findings.noise_sentences(group, summaries),
    ]
    return [*lines, *(f"- {_escaped(sentence)}." for sentence in sentences if sentence), ""]


def _group_table(summaries: Sequence[CandidateSummary]) -> list[str]:
    head = ("candidate", *rows.speed_columns(summaries), "of limit", "ratio", "verdict")
    lines = [
        (
            summary.name,
            *rows.speed_cells(summary, summaries),
            percent(summary.share_of_limit),
            ratio_with_interval(summary.verdict),
            rows.verdict_word(summary),
        )
        for summary in summaries
    ]
    return _escaped_table(head, lines)


def _limit_lines(limits: Sequence[MachineLimit]) -> list[str]:
    if not limits:
        return []
    methods = (f"- {_escaped(method)}." for method in findings.limit_methods(limits))
    return ["What this machine can do at most:", "", *_escaped_table(*rows.limit_table(limits)), "", *methods, ""]


def _hash(candidate: Candidate) -> str:
    return f"`{candidate.timed_sha256[:12]}`" if candidate.timed_sha256.isalnum() else _escaped(candidate.timed_sha256)


def _paragraph(text: str) -> list[str]:
    return [f"{_escaped(text)}.", ""] if text else []


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    return [_line(head), _line(["---"] * len(head)), *map(_line, lines)]


def _escaped_table(head: Iterable[str], lines: Iterable[Iterable[str]]) -> list[str]:
    return _table([_escaped(cell) for cell in head], [[_escaped(cell) for cell in line] for line in lines])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    """On one line, and neither markup nor the end of a cell, whatever it says."""
    return _SPECIAL.sub(r"\\\1", html.escape(printable(text), quote=False))

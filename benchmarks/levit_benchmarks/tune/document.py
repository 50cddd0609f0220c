"""What levit-tune found as a run of levit-bench, for its pages, and as one JSON document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from levit_benchmarks.bench import document
from levit_benchmarks.bench.record import Group, RunRecord
from levit_benchmarks.bench.run import PACKAGES
from levit_benchmarks.machine import environment
from levit_benchmarks.tune.finding import Finding, best_known, choose, frontier, nearest_miss
from levit_benchmarks.tune.goal import Goal
from levit_benchmarks.tune.search import Search, Series

KIND, SCHEMA_VERSION = "levit-tune result", 1
PUBLISHED_NOTE = (
    "top-1 is what LeViT's authors published of the trained float32 networks at 224 pixels; it was not measured here"
)


def run_record(found: Search, goal: Goal, settings: Mapping[str, Any]) -> RunRecord:
    """The samples as levit-bench keeps them: first those that were confirmed, then the screening's, by batch size."""
    groups = [group for series in (found.confirming, found.screening) for group in _groups(series, goal)]
    return RunRecord(environment=environment(PACKAGES), settings=settings, limits=(), groups=tuple(groups))


def to_json(found: Search, goal: Goal, record: RunRecord) -> dict[str, Any]:
    """The answer, the frontier, every finding, and the run of levit-bench that it follows from."""
    known = best_known(found.screened, found.confirmed)
    answer = choose(found.confirmed, goal)
    return {
        "kind": KIND,
        "schema_version": SCHEMA_VERSION,
        "goal": asdict(goal) | {"text": goal.text},
        "published": PUBLISHED_NOTE,
        "seconds": round(found.seconds, 1),
        "answer": None if answer is None else _with_commands(answer, goal),
        "nearest_miss": _with_commands(nearest_miss(known, goal), goal) if answer is None else None,
        "frontier": [one.to_json() for one in frontier(known, goal)],
        "confirmed": [one.to_json() for one in found.confirmed],
        "screened": [one.to_json() for one in found.screened],
        "left_out": [asdict(one) for one in found.left_out],
        "run": document.to_json(record),
    }


def _with_commands(one: Finding, goal: Goal) -> dict[str, Any]:
    return one.to_json() | {"commands": list(one.option.run_commands(goal.scenario))}


def _groups(series: Series, goal: Goal) -> list[Group]:
    """One for each batch size. Threads are the most that any took; `sessions` says what each did."""
    most = max(option.sessions.busy_threads for option in series.options)
    groups = []
    for batch in dict.fromkeys(option.batch for option in series.options):
        names = [option.name for option in series.options if option.batch == batch]
        sessions = series.sessions()
        groups.append(
            Group(
                scenario=goal.scenario,
                batch=batch,
                threads=most,
                baseline=names[0],
                candidates=tuple(one for one in series.candidates if one.name in names),
                sessions={name: sessions[name] for name in names},
                peak_rss_bytes={name: series.peak_rss_bytes[name] for name in names},
                rounds=tuple(
                    replace(one, bursts={name: burst for name, burst in one.bursts.items() if name in names})
                    for one in series.rounds
                ),
            )
        )
    return groups

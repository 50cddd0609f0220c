"""What a run says in titles and sentences, the same on the terminal, in the page and in Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from levit_benchmarks.bench.figures import UNKNOWN, counted, percent, ratio, span
from levit_benchmarks.bench.paired import paired_interval
from levit_benchmarks.bench.record import OFFLINE, Candidate, Conditions, Group, MachineLimit, RunRecord, Sessions
from levit_benchmarks.bench.summary import CANNOT_TELL, CandidateSummary

# A difference smaller than this is one that a run need not find; an interval within it says "as good as equal".
EQUAL_WITHIN = 0.05
# From here on figures are said to be those of a noisy machine.
NOISY_SPREAD, NOISY_STEAL, NOISY_OTHER_LOAD = 0.10, 0.05, 0.5


def group_titles(groups: Sequence[Group]) -> tuple[str, ...]:
    """The setting of each group; numbered where several were measured under the same one."""
    settings = [setting(group) for group in groups]
    total, seen, titles = Counter(settings), Counter[str](), []
    for text in settings:
        seen[text] += 1
        titles.append(f"{text} ({seen[text]} of {total[text]})" if total[text] > 1 else text)
    return tuple(titles)


def setting(group: Group) -> str:
    """`single-stream, batch 1, 2 threads`."""
    return f"{group.scenario}, batch {group.batch}, {counted(group.threads, 'thread')}"


def candidates_of(record: RunRecord) -> tuple[Candidate, ...]:
    """Every candidate of the run, once, in the order in which they come."""
    found: dict[str, Candidate] = {}
    for group in record.groups:
        for candidate in group.candidates:
            found.setdefault(candidate.name, candidate)
    for cold in record.cold_starts:
        found.setdefault(cold.candidate.name, cold.candidate)
    for end in record.end_to_end:
        found.setdefault(end.candidate.name, end.candidate)
    return tuple(found.values())


def conditions_sentence(conditions: Sequence[Conditions]) -> str:
    """How busy the machine was while the rounds ran; what cannot be read here is said to be unknown."""
    load = _range([one.load_average for one in conditions], "{:.1f}".format, "")
    steal = _range([one.steal for one in conditions], percent, "of CPU time")
    other = _range([one.other_load for one in conditions], "{:.2f}".format, "CPUs")
    frequency = _range([one.frequency_mhz for one in conditions], "{:.0f}".format, "MHz")
    return (
        f"{counted(len(conditions), 'round')}; load average {load}; stolen by the hypervisor {steal}; "
        f"kept busy by other processes {other}; clock {frequency}"
    )


def _range(values: Sequence[float | None], text: Any, unit: str) -> str:
    known = [value for value in values if value is not None]
    return span(text(min(known)), text(max(known)), unit) if known else "unknown"


def spread_sentence(summaries: Sequence[CandidateSummary]) -> str:
    """How far the medians of the rounds lie apart."""
    low, high = (percent(pick(summary.round_spread for summary in summaries)) for pick in (min, max))
    return f"From round to round the middle half of the medians spans {span(low, high)} of their median"


def sessions_sentence(group: Group) -> str:
    """How candidates used their threads, where that is not one session with all of them; else nothing."""
    if group.scenario != OFFLINE and set(group.sessions.values()) == {Sessions(sessions=1, threads=group.threads)}:
        return ""
    parts = (f"{name} {sessions_text(used)}" for name, used in group.sessions.items())
    return f"Sessions, the best of those tried: {'; '.join(parts)}" if group.scenario == OFFLINE else "; ".join(parts)


def sessions_text(used: Sessions) -> str:
    """`2 sessions of 1 thread`, or `1 session of 1 thread with 2 callers`."""
    callers = f" with {used.callers} callers" if used.callers > 1 else ""
    return f"{counted(used.sessions, 'session')} of {counted(used.threads, 'thread')}{callers}"


def noise_sentences(group: Group, summaries: Sequence[CandidateSummary]) -> tuple[str, ...]:
    """What could not be decided and why, and what the figures suffered from; nothing when all is well."""
    sentences = [_undecided(summary) for summary in summaries]
    if len(group.rounds) == 1 and len(summaries) > 1:
        sentences.append("One round cannot show how much rounds differ: measure more of them")
    noisy = [summary for summary in summaries if summary.round_spread > NOISY_SPREAD]
    if noisy:
        listed = ", ".join(f"{summary.name} ({percent(summary.round_spread)})" for summary in noisy)
        sentences.append(f"Rounds differ widely for {listed}: their times are those of a noisy machine")
    conditions = [one.conditions for one in group.rounds]
    steal = max((one.steal for one in conditions if one.steal is not None), default=0.0)
    if steal > NOISY_STEAL:
        sentences.append(f"The hypervisor gave up to {percent(steal)} of the CPU time to others")
    busy = max((one.other_load for one in conditions if one.other_load is not None), default=0.0)
    if busy > NOISY_OTHER_LOAD:
        sentences.append(f"Other processes kept up to {busy:.2f} CPUs busy")
    return tuple(filter(None, sentences))


def _undecided(summary: CandidateSummary) -> str:
    """Why there is no verdict: the run is too noisy, or the difference too small to matter; else nothing."""
    verdict = summary.verdict
    if verdict is None or verdict.outcome != CANNOT_TELL:
        return ""
    furthest = max(abs(verdict.low - 1), abs(verdict.high - 1))
    if furthest <= EQUAL_WITHIN:
        return f"{summary.name} differs from the baseline by {percent(furthest)} at most"
    too_few = paired_interval([1.0] * verdict.rounds) is None
    reason = f"{counted(verdict.rounds, 'round')}: too few" if too_few else "Too noisy"
    return (
        f"{reason} to decide: {summary.name} may take from {ratio(verdict.low)} to {ratio(verdict.high)} times as long "
        "as the baseline"
    )


def failure_sentences(record: RunRecord) -> tuple[str, ...]:
    """What could not be measured, and why."""
    return tuple(f"Failed: {what}: {message}" for what, message in record.failed.items())


def limit_methods(limits: Sequence[MachineLimit]) -> tuple[str, ...]:
    """How the limits of the machine were found, each method once."""
    return tuple(dict.fromkeys(f"{what}: {method}" for limit in limits for what, method in limit.method.items()))


def machine_sentence(environment: Mapping[str, Any]) -> str:
    """What it was measured on, and when; fields that a file lacks are left out."""
    machine: Mapping[str, Any] = environment.get("machine") or {}
    memory = machine.get("memory_bytes")
    parts = (
        machine.get("cpu"),
        f"{machine['usable_cpus']} of {machine.get('logical_cpus', UNKNOWN)} CPUs" if "usable_cpus" in machine else "",
        f"{memory / 2**30:.0f} GiB" if isinstance(memory, int | float) else "",
        machine.get("system"),
        machine.get("python"),
    )
    return f"{', '.join(str(part) for part in parts if part)}; {str(environment.get('date', ''))[:10]}"


def packages_sentence(environment: Mapping[str, Any]) -> str:
    """The versions of the packages that were installed, and the revision of our source."""
    packages: Mapping[str, Any] = environment.get("packages") or {}
    parts = [f"{name} {version}" for name, version in packages.items() if version]
    revision = environment.get("revision")
    return ", ".join([*parts, f"revision {str(revision)[:12]}"] if revision else parts)

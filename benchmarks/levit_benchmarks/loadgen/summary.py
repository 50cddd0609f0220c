"""What LoadGen wrote in mlperf_log_summary.txt, as values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from levit_benchmarks.machine import BenchmarkError

SUMMARY, DETAIL = "mlperf_log_summary.txt", "mlperf_log_detail.txt"
VALID = "VALID"
_ESTIMATE = re.compile(r"Early stopping ([\d.]+)th percentile estimate: (\d+)")
_PERCENTILE = re.compile(r"^([\d.]+) percentile latency \(ns\)\s*: (\d+)$", re.MULTILINE)
_UNSATISFIED = re.compile(r"^\s*([\w ]+?) satisfied\s*: NO$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadGenResult:
    """One run as LoadGen judges it; times in milliseconds.

    `early_stopping_ms` are its estimates of a percentile that hold with 99 % confidence, which is what MLPerf reports
    of a single stream; `percentiles_ms` are those of the samples. `unsatisfied` says what made it INVALID.
    `samples_per_s` is what MLPerf reports of offline, and None of a single stream. `parameters` are those used.
    """

    validity: str
    unsatisfied: tuple[str, ...]
    recommendations: tuple[str, ...]
    samples_per_s: float | None
    early_stopping_ms: Mapping[float, float]
    percentiles_ms: Mapping[float, float]
    parameters: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {
            "validity": self.validity,
            "unsatisfied": list(self.unsatisfied),
            "recommendations": list(self.recommendations),
            "samples_per_s": self.samples_per_s,
            "early_stopping_ms": {f"{name:g}": value for name, value in self.early_stopping_ms.items()},
            "percentiles_ms": {f"{name:g}": value for name, value in self.percentiles_ms.items()},
            "parameters": dict(self.parameters),
        }


def read_summary(folder: Path) -> LoadGenResult:
    """The result in the log folder `folder`; BenchmarkError where LoadGen left none."""
    try:
        return parse_summary((folder / SUMMARY).read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise BenchmarkError(f"LoadGen left no {SUMMARY} in {folder} ({error.strerror})") from error


def read_version(folder: Path) -> str:
    """LoadGen's version and revision, as its detailed log begins."""
    text = (folder / DETAIL).read_text(encoding="utf-8", errors="replace") if (folder / DETAIL).is_file() else ""
    found = re.search(r'"key": "loadgen_version", "value": "([^"]*)"', text)
    return found[1] if found else "unknown"


def parse_summary(text: str) -> LoadGenResult:
    """What a summary says; BenchmarkError where it gives no result."""
    validity = _value(text, "Result is")
    if validity is None:
        raise BenchmarkError(f"{SUMMARY} has no line 'Result is'")
    rate = _value(text, "Samples per second")
    return LoadGenResult(
        validity=validity,
        unsatisfied=tuple(_UNSATISFIED.findall(text)),
        recommendations=_recommendations(text),
        samples_per_s=None if rate is None else float(rate),
        early_stopping_ms={float(name): int(ns) / 1e6 for name, ns in _ESTIMATE.findall(text)},
        percentiles_ms={float(name): int(ns) / 1e6 for name, ns in _PERCENTILE.findall(text)},
        parameters=_parameters(text),
    )


def _value(text: str, name: str) -> str | None:
    found = re.search(rf"^{re.escape(name)}\s*: (\S+)$", text, re.MULTILINE)
    return found[1] if found else None


def _recommendations(text: str) -> tuple[str, ...]:
    """The starred lines under that title, each with the lines that go on with it."""
    _, title, rest = text.partition("Recommendations:\n")
    block = re.split(r"\n\s*\n|\nEarly Stopping Result", rest)[0] if title else ""
    return tuple(" ".join(one.split()) for one in re.split(r"^\s*\* ", block, flags=re.MULTILINE) if one.strip())


def _parameters(text: str) -> dict[str, str]:
    _, _, rest = text.partition("Test Parameters Used\n")
    return dict(re.findall(r"^([\w ()]+?)\s*: (.+)$", rest, re.MULTILINE))

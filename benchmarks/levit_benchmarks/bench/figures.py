"""Numbers of a run as a person reads them. What is not known, or not finite, becomes a dash, never a number."""

from __future__ import annotations

import math

from levit_benchmarks.bench.summary import Verdict

UNKNOWN = "–"
MIB = 1 << 20


def significant(value: float | None, digits: int = 3) -> str:
    """`value` to that many digits, never in exponents of ten: 0.0123, 12.3, 1230."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value == 0.0:
        return "0"
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])  # of the rounded value: 9.999 has that of 10.0
    decimals = digits - 1 - exponent
    return f"{round(value, decimals):.{max(decimals, 0)}f}"


def percent(share: float | None) -> str:
    """A share as a percentage: 0.3 %, 43 %."""
    if share is None or not math.isfinite(share):
        return UNKNOWN
    value = 100 * share
    return f"{value:.0f} %" if value >= 10 or value == 0 else f"{value:.1f} %"


def mebibytes(size_bytes: int) -> str:
    """A size in MiB; 0 bytes are none that could be read."""
    return f"{size_bytes / MIB:.0f}" if size_bytes else UNKNOWN


def ratio(value: float) -> str:
    """A ratio of times, to three decimals, and to three digits where it is far from 1."""
    return f"{value:.3f}" if 0.01 <= value < 10 else significant(value)


def ratio_with_interval(verdict: Verdict | None) -> str:
    """The ratio to the baseline and its 95 % interval: `0.532 (0.521 to 0.544)`."""
    if verdict is None:
        return UNKNOWN
    if not (math.isfinite(verdict.low) and math.isfinite(verdict.high)):
        return f"{ratio(verdict.ratio)} (no interval)"
    return f"{ratio(verdict.ratio)} ({ratio(verdict.low)} to {ratio(verdict.high)})"


def counted(number: int, noun: str) -> str:
    """`1 thread`, `2 threads`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def span(low: str, high: str, unit: str = "") -> str:
    """`1.2 to 3.4 CPUs`, and `1.2 CPUs` where both are the same."""
    text = low if low == high else f"{low} to {high}"
    return f"{text} {unit}".rstrip()

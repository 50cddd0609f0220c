"""Numbers as a person reads them. NaN and infinity become words; no number is rounded to what it is not.

A share just above 1 is a miss, an agreement just below 1 is a flip: neither is shown as 100 %.
"""

from __future__ import annotations

import math

NOT_A_NUMBER = "not a number"
INFINITE = "infinite"
LARGEST_PERCENTAGE, LARGEST_FACTOR = 10.0, 1e5
KIB, MIB = 1 << 10, 1 << 20


def error_text(value: float) -> str:
    """An error, bound or ratio, in the same width for every size: `1.23e-06`."""
    return _word(value) or ("0" if value == 0.0 else f"{value:.2e}")


def decimal_text(value: float) -> str:
    """A number of everyday size, to one decimal place."""
    return _word(value) or f"{value:.1f}"


def share_text(share: float) -> str:
    """A part of what is allowed, as a percentage; from ten times on as a factor."""
    if word := _word(share):
        return word
    if share > LARGEST_PERCENTAGE:
        return f"{share:.0f} ×" if share < LARGEST_FACTOR else f"{share:.1e} ×"
    percent = f"{100 * share:.1f}"
    if percent == "100.0" and share != 1.0:
        return "just over 100 %" if share > 1.0 else "just under 100 %"
    return "< 0.1 %" if percent == "0.0" and share > 0.0 else f"{percent} %"


def share_of(share: float, whole: str) -> str:
    """The same in a sentence: `143.0 % of its bound`, `24 × its bound`."""
    text = share_text(share)
    return f"{text} {whole}" if text.endswith("×") else f"{text} of {whole}"


def agreement_text(fraction: float) -> str:
    """How much of everything agrees, as a percentage."""
    if word := _word(fraction):
        return word
    percent = f"{100 * fraction:.1f}"
    if percent == "100.0":
        return "100 %" if fraction == 1.0 else "< 100 %"
    return f"{percent} %"


def size_text(size_bytes: int) -> str:
    """A size in bytes, with a rounded one beside it from a KiB on."""
    exact = f"{size_bytes:,}".replace(",", " ") + " bytes"
    if size_bytes >= MIB:
        return f"{exact} ({size_bytes / MIB:.1f} MiB)"
    return f"{exact} ({size_bytes / KIB:.1f} KiB)" if size_bytes >= KIB else exact


def _word(value: float) -> str:
    """What `value` is when it is no finite number, else nothing."""
    if math.isfinite(value):
        return ""
    if math.isnan(value):
        return NOT_A_NUMBER
    return INFINITE if value > 0 else f"minus {INFINITE}"

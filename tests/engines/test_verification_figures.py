import math

import pytest

from levit_engines.verification.figures import (
    agreement_text,
    decimal_text,
    error_text,
    share_of,
    share_text,
    size_text,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1.234e-06, "1.23e-06"),
        (12.0, "1.20e+01"),
        (math.nan, "not a number"),
        (math.inf, "infinite"),
        (-math.inf, "minus infinite"),
    ],
)
def test_errors(value, text):
    assert error_text(value) == text


@pytest.mark.parametrize(("value", "text"), [(118.44, "118.4"), (math.inf, "infinite"), (math.nan, "not a number")])
def test_decimals(value, text):
    assert decimal_text(value) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0.0 %"),
        (1e-05, "< 0.1 %"),
        (0.1234, "12.3 %"),
        (0.99999, "just under 100 %"),
        (1.0, "100.0 %"),
        (1.00001, "just over 100 %"),
        (1.5, "150.0 %"),
        (10.0, "1000.0 %"),
        (2345.6, "2346 ×"),
        (6.02e23, "6.0e+23 ×"),
        (math.nan, "not a number"),
        (math.inf, "infinite"),
    ],
)
def test_shares_are_never_rounded_over_the_line(share, text):
    assert share_text(share) == text


def test_shares_in_a_sentence():
    assert share_of(0.5, "its bound") == "50.0 % of its bound"
    assert share_of(24.0, "its bound") == "24 × its bound"


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(1.0, "100 %"), (0.99999, "< 100 %"), (11 / 12, "91.7 %"), (0.0, "0.0 %"), (math.nan, "not a number")],
)
def test_agreement_is_whole_only_when_all_agree(fraction, text):
    assert agreement_text(fraction) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 bytes"), (1023, "1 023 bytes"), (1536, "1 536 bytes (1.5 KiB)"), (31325535, "31 325 535 bytes (29.9 MiB)")],
)
def test_sizes(size_bytes, text):
    assert size_text(size_bytes) == text

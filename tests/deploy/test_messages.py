"""Other libraries' messages on one line."""

from __future__ import annotations

import pytest

from levit_deploy.messages import LONGEST, short_message


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (ValueError("one\n  two"), "one two"),
        (RuntimeError("[ONNXRuntimeError] : 10 : INVALID_GRAPH : a : b"), "a : b"),
        (
            RuntimeError("Exception from src/a.cpp:1:\nCheck 'x' failed at b.cpp:2:\nunknown operator"),
            "unknown operator",
        ),
        (KeyError(), "KeyError"),
        ("", ""),
    ],
    ids=["lines", "ONNX Runtime", "OpenVINO", "no words", "nothing"],
)
def test_a_message_is_one_line_of_what_matters(said: BaseException | str, expected: str) -> None:
    assert short_message(said) == expected


def test_a_message_ends() -> None:
    assert short_message("x" * LONGEST) == "x" * LONGEST
    assert short_message("x" * (LONGEST + 1)) == "x" * (LONGEST - 1) + "…"

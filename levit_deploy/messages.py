"""What other libraries say when they fail, made fit for one line of ours."""

from __future__ import annotations

import re

LONGEST = 300
# The kind of an error of ONNX Runtime; and the lines in which OpenVINO names the places in its sources.
_NOISE = re.compile(r"^\s*(?:\[ONNXRuntimeError\] : \d+ : \w+ : |Exception from .*|Check '.*)", re.MULTILINE)


def short_message(said: BaseException | str) -> str:
    """What an error or a text says, on one line and not longer than a reader bears."""
    text = " ".join(_NOISE.sub("", str(said)).split())
    if not text and isinstance(said, BaseException):
        return type(said).__name__
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"

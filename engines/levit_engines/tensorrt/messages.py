"""What TensorRT says while it works: collected, and put on one line for a person."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import cast

from levit_engines.tensorrt.api import Library, Member, TrtLogger, TrtParser, TrtParserError

ERROR_SEVERITIES = ("INTERNAL_ERROR", "ERROR")
# Without a driver, every error is followed by one of these, which has nothing to do with it.
DRIVER_COMPLAINTS = ("cudaError 35", "CUDA driver version is insufficient")


@dataclass(frozen=True, slots=True)
class MessageLog:
    """The errors of a library's logger, in order."""

    errors: list[str] = field(default_factory=list)

    def logger(self, library: Library) -> TrtLogger:
        """A logger of `library` that writes here."""

        def log(_self: object, severity: Member, message: str) -> None:
            if severity.name in ERROR_SEVERITIES:
                self.errors.append(message)

        return cast(TrtLogger, type("RecordingLogger", (library.ILogger,), {"log": log})())

    def summary(self, *, has_driver: bool) -> str:
        """All errors on one line; without a driver, complaints about that are left out where others say more."""
        return one_line(self.errors if has_driver else without_driver_complaints(self.errors))


def without_driver_complaints(messages: Iterable[str]) -> list[str]:
    """`messages` without those, or those lines, that only say that there is no driver; all if they all say so."""
    found = list(messages)
    kept = [
        "\n".join(line for line in message.splitlines() if not any(words in line for words in DRIVER_COMPLAINTS))
        for message in found
    ]
    return [message for message in kept if message.strip()] or found


def one_line(messages: Iterable[str]) -> str:
    """Every line of every message once, separated by "; "."""
    lines = [" ".join(line.split()) for message in messages for line in message.splitlines()]
    return "; ".join(dict.fromkeys(line for line in lines if line)) or "no message was given"


def parser_errors(parser: TrtParser, *, has_driver: bool) -> str:
    """All that the parser refused: node, operator and reason of each, on one line."""
    errors = [_parser_error(parser.get_error(index), has_driver=has_driver) for index in range(parser.num_errors)]
    return one_line(errors)


def _parser_error(error: TrtParserError, *, has_driver: bool) -> str:
    text = error.desc()
    reason = one_line([text] if has_driver else without_driver_complaints([text]))
    # A check that is just `false` says all it knows by its code.
    words = error.code().name.lower().replace("_", " ")
    said = f"{words} (found by {error.func()})" if reason == "false" else f"{words}: {reason}"
    if error.node() < 0:
        return said
    return f"node {error.node_name() or error.node()!r} ({error.node_operator()}): {said}"

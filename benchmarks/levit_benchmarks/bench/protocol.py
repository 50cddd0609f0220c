"""What levit-bench and its workers say to each other: one JSON object a line, requests down, replies up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from levit_benchmarks.bench.record import Candidate
from levit_benchmarks.bench.subject import Order
from levit_benchmarks.machine import BenchmarkError
from levit_deploy import errors
from levit_deploy.errors import LevitError

TIME, PREPARE, COLD_START, END_TO_END = "time", "prepare", "cold-start", "end-to-end"
"""The jobs of a worker; "time" answers requests until it is closed, the others give one reply."""


def encode(message: Mapping[str, Any]) -> bytes:
    """`message` as one line."""
    return json.dumps(message, default=str).encode() + b"\n"


def order_from_json(document: Mapping[str, Any]) -> Order:
    """The order that `order_to_json` wrote."""
    paths = {name: None if document[name] is None else Path(document[name]) for name in ("bundle", "folder")}
    return Order(**{**document, **paths})


def order_to_json(order: Order) -> dict[str, Any]:
    """The fields as plain JSON values; paths are absolute, as workers run in another folder."""
    paths = {name: getattr(order, name) for name in ("bundle", "folder")}
    return asdict(order) | {name: None if path is None else str(path.absolute()) for name, path in paths.items()}


def candidate_from_json(document: Mapping[str, Any]) -> Candidate:
    """The candidate whose fields a worker sent."""
    return Candidate(**document)


def failure(error: Exception) -> dict[str, str]:
    """The reply that says what went wrong."""
    if isinstance(error, LevitError):
        return {"error": type(error).__name__, "text": str(error)}
    return {"error": BenchmarkError.__name__, "text": f"{type(error).__name__}: {error}"}


def error_of(reply: Mapping[str, Any], name: str) -> LevitError:
    """The error that a worker met, of the class that decides the exit code; `name` is what it worked on."""
    kind = getattr(errors, str(reply["error"]), BenchmarkError)
    known = kind if isinstance(kind, type) and issubclass(kind, LevitError) else BenchmarkError
    return known(f"{name}: {reply['text']}")

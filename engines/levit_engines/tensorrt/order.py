"""What passes between the process that wants a plan and the one that builds it: an order there, events back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from levit_deploy.errors import (
    BundleError,
    ConfigError,
    EnvironmentIncompleteError,
    ExportError,
    InputError,
    LevitError,
)

# Where the two meet, inside of a folder of their own.
ORDER, MODEL, PLAN = "order.json", "model.onnx", "network.plan"
# In an outcome's `engine`, in place of layers: why the plan could not be loaded where it was built.
NOT_INSPECTED = "not_inspected"
_KINDS = (BundleError, ConfigError, EnvironmentIncompleteError, ExportError, InputError)
_ERRORS = {error.__name__: error for error in _KINDS}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileOrder:
    """Shapes of the input to build for."""

    input: str
    minimum: tuple[int, ...]
    optimum: tuple[int, ...]
    maximum: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOrder:
    """One plan to build from the graph beside the order; without `profile` every shape is static."""

    engine: str
    profile: ProfileOrder | None
    compute_capabilities: tuple[str, ...]
    workspace_mib: int | None
    timing_cache: str | None

    def to_text(self) -> str:
        """What `from_text` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> BuildOrder:
        """What `to_text` wrote."""
        document = json.loads(text)
        shapes = document["profile"]
        profile = None
        if shapes is not None:
            sides = {name: tuple(shapes[name]) for name in ("minimum", "optimum", "maximum")}
            profile = ProfileOrder(input=shapes["input"], **sides)
        capabilities = tuple(document["compute_capabilities"])
        return cls(**{**document, "profile": profile, "compute_capabilities": capabilities})


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a finished build says, beside the plan: the library's version, the GPU it was built on, its layers.

    `targets` are the compute capabilities it is for. `gpu` is empty where there is none; `engine` then too. `notes` are
    sentences for the user.
    """

    version: str
    targets: tuple[str, ...]
    gpu: Mapping[str, str]
    engine: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Outcome:
        """What `to_json` gave."""
        return cls(**{**document, **{name: tuple(document[name]) for name in ("targets", "notes")}})


def failure_event(error: LevitError) -> dict[str, Any]:
    """An error of ours, as it is told to the other process."""
    return {"event": "failure", "error": type(error).__name__, "message": str(error)}


def failure_of(event: Mapping[str, Any]) -> LevitError:
    """The error that `failure_event` tells of."""
    return _ERRORS.get(event["error"], ExportError)(event["message"])

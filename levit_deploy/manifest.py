"""The manifest of a bundle: what the file says of itself, read strictly and written in one form only.

A manifest comes from a stranger: every field is checked for presence, type and range before it is used, and
an unknown schema version is refused. Source: docs/reference/bundle.md.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from levit_deploy.architectures import LevitConfig, config_for
from levit_deploy.engine_entry import FOLDER, EngineEntry
from levit_deploy.errors import BundleError, ConfigError
from levit_deploy.preprocessing import Preprocessing

SCHEMA_VERSION = 1
MAX_MEMBER_BYTES = 4 << 30
_MEMBER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*(/[A-Za-z0-9_][A-Za-z0-9_.\-]*)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")

T = TypeVar("T")


def _field(document: Mapping[str, Any], name: str, kind: type[T]) -> T:
    if name not in document:
        raise BundleError(f"manifest.json: field {name!r} is missing")
    value = document[name]
    # bool is an int to Python, never to a manifest.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise BundleError(f"manifest.json: field {name!r} must be {kind.__name__}, got {type(value).__name__}")
    return value


def _strings(document: Mapping[str, Any], name: str) -> dict[str, str]:
    table = _field(document, name, dict)
    if not all(isinstance(value, str) for value in table.values()):
        raise BundleError(f"manifest.json: every value of {name!r} must be a string")
    return table


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One file of a bundle: its size in bytes and sha256."""

    size_bytes: int
    sha256: str

    @classmethod
    def from_json(cls, name: str, document: object) -> Member:
        """What `to_json` wrote; raises BundleError on anything else."""
        if not isinstance(document, dict):
            raise BundleError(f"manifest.json: member {name!r} must be an object")
        size, digest = _field(document, "size_bytes", int), _field(document, "sha256", str)
        if not 0 <= size <= MAX_MEMBER_BYTES:
            raise BundleError(f"manifest.json: member {name!r} has size {size}, allowed is 0 to {MAX_MEMBER_BYTES}")
        if not _SHA256.fullmatch(digest):
            raise BundleError(f"manifest.json: member {name!r} has no valid sha256")
        return cls(size_bytes=size, sha256=digest)

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {"size_bytes": self.size_bytes, "sha256": self.sha256}


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpecification:
    """One input or output of the graph; a dimension is a number or the name of a dynamic axis."""

    name: str
    dtype: str
    layout: str
    shape: tuple[int | str, ...]

    @classmethod
    def from_json(cls, document: object) -> TensorSpecification:
        """What `to_json` wrote; raises BundleError on anything else."""
        if not isinstance(document, dict):
            raise BundleError("manifest.json: every input and output must be an object")
        shape = tuple(_field(document, "shape", list))
        if not all(isinstance(side, str) or (type(side) is int and side > 0) for side in shape):
            raise BundleError(f"manifest.json: shape {list(shape)} must hold positive numbers or axis names")
        return cls(
            name=_field(document, "name", str),
            dtype=_field(document, "dtype", str),
            layout=_field(document, "layout", str),
            shape=shape,
        )

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {"name": self.name, "dtype": self.dtype, "layout": self.layout, "shape": list(self.shape)}


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSizes:
    """The batch sizes that the graph takes, and those of them that were really run when it was verified."""

    minimum: int
    maximum: int
    verified: tuple[int, ...]

    def __post_init__(self) -> None:
        if not 1 <= self.minimum <= self.maximum:
            raise ConfigError(f"batch sizes {self.minimum} to {self.maximum}: needed is 1 <= minimum <= maximum")

    @property
    def dynamic(self) -> bool:
        """Whether more than one batch size is allowed."""
        return self.minimum != self.maximum

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> BatchSizes:
        """What `to_json` wrote; raises BundleError on anything else."""
        verified = tuple(_field(document, "verified", list))
        if not all(type(size) is int and size > 0 for size in verified):
            raise BundleError("manifest.json: field 'verified' must hold positive numbers")
        minimum, maximum = _field(document, "minimum", int), _field(document, "maximum", int)
        try:
            sizes = cls(minimum=minimum, maximum=maximum, verified=verified)
        except ConfigError as error:
            raise BundleError(f"manifest.json: {error}") from error
        if not verified or not all(minimum <= size <= maximum for size in verified):
            raise BundleError(f"manifest.json: field 'verified' must hold sizes from {minimum} to {maximum}")
        return sizes

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {"minimum": self.minimum, "maximum": self.maximum, "verified": list(self.verified)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """All that a bundle says of itself, apart from its files.

    `weights`, `graph` and `parity` are records for people and tools; nothing in them decides what is loaded.
    `golden_tolerance` is the largest |logit - golden logit| allowed, one number for each golden image. `engines` are
    those that levit-build added, by name.
    """

    name: str
    config: LevitConfig
    precision: str
    target: str
    weights: Mapping[str, Any]
    versions: Mapping[str, str]
    preprocessing: Preprocessing
    input: TensorSpecification
    outputs: tuple[TensorSpecification, ...]
    batch_sizes: BatchSizes
    graph: Mapping[str, Any]
    parity: Mapping[str, Any]
    golden_tolerance: tuple[float, ...]
    members: Mapping[str, Member]
    engines: Mapping[str, EngineEntry]

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {
            "schema_version": SCHEMA_VERSION,
            "name": self.name,
            "network": self.config.to_json(),
            "precision": self.precision,
            "target": self.target,
            "weights": dict(self.weights),
            "versions": dict(self.versions),
            "preprocessing": self.preprocessing.to_json(),
            "input": self.input.to_json(),
            "outputs": [output.to_json() for output in self.outputs],
            "batch_sizes": self.batch_sizes.to_json(),
            "graph": dict(self.graph),
            "parity": dict(self.parity),
            "golden_tolerance": list(self.golden_tolerance),
            "members": {name: member.to_json() for name, member in sorted(self.members.items())},
            "engines": {name: engine.to_json() for name, engine in sorted(self.engines.items())},
        }

    @classmethod
    def from_json(cls, document: object) -> Manifest:
        """Check every field of a parsed manifest; raises BundleError with the field at fault."""
        if not isinstance(document, dict):
            raise BundleError("manifest.json: must be an object")
        version = _field(document, "schema_version", int)
        if version != SCHEMA_VERSION:
            raise BundleError(
                f"manifest.json: schema version {version} is unknown, this toolkit reads {SCHEMA_VERSION}: "
                "use the levit-deploy that wrote the bundle, or export it again"
            )
        config = _config_from_json(_field(document, "network", dict))
        preprocessing = Preprocessing.from_json(_field(document, "preprocessing", dict))
        if preprocessing.image_size != config.image_size:
            raise BundleError(
                f"manifest.json: preprocessing makes {preprocessing.image_size} pixels, "
                f"the network takes {config.image_size}"
            )
        members = _members_from_json(_field(document, "members", dict))
        return cls(
            name=_field(document, "name", str),
            config=config,
            precision=_field(document, "precision", str),
            target=_field(document, "target", str),
            weights=_field(document, "weights", dict),
            versions=_strings(document, "versions"),
            preprocessing=preprocessing,
            input=TensorSpecification.from_json(_field(document, "input", dict)),
            outputs=tuple(TensorSpecification.from_json(item) for item in _field(document, "outputs", list)),
            batch_sizes=BatchSizes.from_json(_field(document, "batch_sizes", dict)),
            graph=_field(document, "graph", dict),
            parity=_field(document, "parity", dict),
            golden_tolerance=_tolerances(_field(document, "golden_tolerance", list)),
            members=members,
            engines=_engines_from_json(_field(document, "engines", dict), members),
        )


def _tolerances(values: list[object]) -> tuple[float, ...]:
    # Python's JSON reader accepts NaN, Infinity, and whole numbers that no float can hold.
    if not all(type(value) in (int, float) and 0.0 <= cast(float, value) <= sys.float_info.max for value in values):
        raise BundleError("manifest.json: field 'golden_tolerance' must hold finite numbers that are not negative")
    return tuple(float(cast(float, value)) for value in values)


def _config_from_json(document: Mapping[str, Any]) -> LevitConfig:
    try:
        config = config_for(
            _field(document, "arch", str),
            num_classes=_field(document, "num_classes", int),
            image_size=_field(document, "image_size", int),
            distillation=_field(document, "distillation", bool),
        )
    except ConfigError as error:
        raise BundleError(f"manifest.json: {error}") from error
    for name, value in config.to_json().items():
        if document.get(name) != value:
            raise BundleError(f"manifest.json: {name} of {config.arch} is {value}, not {document.get(name)}")
    return config


def _members_from_json(document: Mapping[str, object]) -> dict[str, Member]:
    members = {}
    for name, entry in document.items():
        # Names are joined to the folder of the bundle: no absolute path, no "..", no drive, no backslash.
        if not _MEMBER_NAME.fullmatch(name) or name == "manifest.json":
            raise BundleError(f"manifest.json: {name!r} is not a member name that a bundle may have")
        members[name] = Member.from_json(name, entry)
    return members


def _engines_from_json(document: Mapping[str, object], members: Mapping[str, Member]) -> dict[str, EngineEntry]:
    engines = {name: EngineEntry.from_json(name, entry) for name, entry in document.items()}
    owners: dict[str, str] = {}
    for name, engine in engines.items():
        for file in engine.files:
            if file not in members:
                raise BundleError(f"manifest.json: engine {name!r} names {file}, which is not a member")
            # Replacing an engine removes its files: they must be nobody else's.
            if not file.startswith(f"{FOLDER}/"):
                raise BundleError(f"manifest.json: engine {name!r} names {file}, which is not below {FOLDER}/")
            if owners.setdefault(file, name) != name:
                raise BundleError(f"manifest.json: engines {owners[file]!r} and {name!r} both name {file}")
    return engines

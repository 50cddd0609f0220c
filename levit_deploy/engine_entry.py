"""What a bundle says of an engine that levit-build added: its files, and all that decides whether it can run here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from levit_deploy.errors import BundleError

FOLDER = "engines"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The batch sizes an engine was built for: the smallest, the one it was tuned for, the largest."""

    minimum: int
    optimum: int
    maximum: int

    @classmethod
    def from_json(cls, document: object, place: str) -> Profile:
        """What `to_json` wrote; raises BundleError on anything else."""
        names = tuple(field.name for field in fields(cls))
        if not isinstance(document, dict) or sorted(document) != sorted(names):
            raise BundleError(f"manifest.json: {place} must hold {', '.join(names)}")
        if not all(type(document[name]) is int for name in names):
            raise BundleError(f"manifest.json: {place} must hold whole numbers")
        profile = cls(**document)
        if not 1 <= profile.minimum <= profile.optimum <= profile.maximum:
            raise BundleError(f"manifest.json: {place} must have 1 <= minimum <= optimum <= maximum")
        return profile

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineEntry:
    """An engine in a bundle; it is filed under its name, and its `files` are members, the one to load first.

    `model_sha256` is the graph it was built from. `libraries` and `requirements` decide where it can run: versions by
    name, and what the machine must have, in words of the engine (compute capabilities, instruction sets). `options` and
    `network` are records of what was asked for and of what was built. `verified` says what was compared, or why nothing
    was.
    """

    files: tuple[str, ...]
    model_sha256: str
    libraries: Mapping[str, str]
    requirements: Mapping[str, str]
    profile: Profile
    options: Mapping[str, str]
    network: Mapping[str, Any]
    machine: Mapping[str, str]
    build_seconds: float
    verified: str

    @classmethod
    def from_json(cls, name: str, document: object) -> EngineEntry:
        """What `to_json` wrote; raises BundleError, naming the field, on anything else."""
        place = f"engine {name!r}"
        if not isinstance(document, dict):
            raise BundleError(f"manifest.json: {place} must be an object")
        for field in fields(cls):
            if field.name not in document:
                raise BundleError(f"manifest.json: {place}: field {field.name!r} is missing")
        files = document["files"]
        if not isinstance(files, list) or not files or not all(isinstance(file, str) for file in files):
            raise BundleError(f"manifest.json: {place}: field 'files' must hold member names")
        seconds = document["build_seconds"]
        if type(seconds) not in (int, float) or not 0.0 <= seconds < 1e9:
            raise BundleError(f"manifest.json: {place}: field 'build_seconds' must be a number that is not negative")
        for field_name in ("model_sha256", "verified"):
            if not isinstance(document[field_name], str):
                raise BundleError(f"manifest.json: {place}: field {field_name!r} must be text")
        if not isinstance(document["network"], dict):
            raise BundleError(f"manifest.json: {place}: field 'network' must be an object")
        return cls(
            files=tuple(files),
            model_sha256=document["model_sha256"],
            libraries=_texts(document, "libraries", place),
            requirements=_texts(document, "requirements", place),
            profile=Profile.from_json(document["profile"], f"{place}: field 'profile'"),
            options=_texts(document, "options", place),
            network=document["network"],
            machine=_texts(document, "machine", place),
            build_seconds=float(seconds),
            verified=document["verified"],
        )

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {
            "files": list(self.files),
            "model_sha256": self.model_sha256,
            "libraries": dict(self.libraries),
            "requirements": dict(self.requirements),
            "profile": self.profile.to_json(),
            "options": dict(self.options),
            "network": dict(self.network),
            "machine": dict(self.machine),
            "build_seconds": self.build_seconds,
            "verified": self.verified,
        }


def _texts(document: Mapping[str, Any], name: str, place: str) -> dict[str, str]:
    table = document[name]
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise BundleError(f"manifest.json: {place}: field {name!r} must be an object of texts")
    return table

"""The engines that a bundle holds, and whether each can be opened on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from levit_deploy.bundle import MODEL, Bundle
from levit_deploy.engine_entry import EngineEntry
from levit_engines.catalogue import CATALOGUE
from levit_engines.doctor.facts import Facts
from levit_engines.doctor.packages import normalized, packages_of
from levit_engines.doctor.verdicts import State, Verdict
from levit_engines.tensorrt.targets import fits, parse_capability


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryVerdict:
    """Whether an engine of a bundle can be opened; `unchecked` are requirements that levit-doctor does not know."""

    engine: str
    opens: bool
    reason: str
    remedy: str
    unchecked: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {**asdict(self), "unchecked": list(self.unchecked)}


def judge_bundle(bundle: Bundle, facts: Facts, verdicts: Mapping[str, Verdict]) -> tuple[EntryVerdict, ...]:
    """A verdict on every engine of `bundle` that was examined or that nobody knows, by name."""
    manifest = bundle.manifest
    model = manifest.members[MODEL].sha256 if MODEL in manifest.members else ""
    return tuple(
        judge_entry(name, entry, model, facts, verdicts.get(name))
        for name, entry in sorted(manifest.engines.items())
        if name in verdicts or name not in CATALOGUE
    )


def judge_entry(
    name: str, entry: EngineEntry, model_sha256: str, facts: Facts, verdict: Verdict | None
) -> EntryVerdict:
    """Whether the engine of `entry`, which a bundle with that graph holds, can be opened here."""
    if verdict is None:
        return EntryVerdict(
            engine=name, opens=False, reason="this toolkit has no such engine", remedy="update the toolkit"
        )
    rebuild = f"levit-build BUNDLE --engine {name} --overwrite"
    unchecked = tuple(sorted(set(entry.requirements) - set(_CHECKS)))
    if entry.model_sha256 != model_sha256:
        reason, remedy = f"it was built from another {MODEL}", rebuild
    elif verdict.state is not State.WORKS:
        reason, remedy = verdict.reason, verdict.remedy
    else:
        reason, remedy = _misfit(entry, facts), rebuild
    return EntryVerdict(
        engine=name, opens=not reason, reason=reason, remedy=remedy if reason else "", unchecked=unchecked
    )


def _misfit(entry: EngineEntry, facts: Facts) -> str:
    """The first library or requirement that is another here; empty when all fit."""
    for library, built_with in sorted(entry.libraries.items()):
        here = _installed_version(library, facts)
        if not _same_release(built_with, here):
            return f"it was built with {library} {built_with}, here is {here or 'none'}"
    for requirement, wanted in sorted(entry.requirements.items()):
        check = _CHECKS.get(requirement)
        if check is not None and not check(wanted, facts):
            return f"it was built for {requirement} {wanted}, which is not what is here"
    return ""


def _installed_version(library: str, facts: Facts) -> str | None:
    """The version of a library, be it named as a package or as what it is imported as."""
    names = (normalized(library), *packages_of(library, facts.packages, facts.onnxruntime_builds))
    return next((facts.packages[name] for name in names if name in facts.packages), None)


def _same_release(built_with: str, here: str | None) -> bool:
    # OpenVINO says "2026.4.1-22982-e213a147257-releases/2026/4" of itself, and its package 2026.4.1.
    return here is not None and built_with.split("-")[0].split("+")[0] == here.split("-")[0].split("+")[0]


def _has_architecture(wanted: str, facts: Facts) -> bool:
    return wanted == facts.machine.architecture


def _has_instructions(wanted: str, facts: Facts) -> bool:
    # Neither fewer nor more: what was laid out for a smaller set may be read as if for the larger one.
    return set(wanted.split()) == set(facts.machine.cpu_flags)


def _has_openvino(wanted: str, facts: Facts) -> bool:
    return _same_release(wanted, facts.packages.get("openvino"))


def _has_compute_capability(wanted: str, facts: Facts) -> bool:
    capabilities = [gpu.compute_capability for gpu in facts.nvidia.gpus if gpu.compute_capability is not None]
    return any(fits(wanted, parse_capability(capability)) for capability in capabilities)


def _has_platform(wanted: str, facts: Facts) -> bool:
    return wanted == f"{facts.machine.kernel.split()[0].lower()}-{facts.machine.architecture}"


_CHECKS: Mapping[str, Callable[[str, Facts], bool]] = {
    "architecture": _has_architecture,
    "instruction set": _has_instructions,
    "cpu": _has_instructions,
    "openvino": _has_openvino,
    "compute_capabilities": _has_compute_capability,
    "platform": _has_platform,
}

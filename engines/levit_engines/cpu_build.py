"""What the builds for CPUs share: their file only makes opening faster, and is only used where it was made for."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from types import MappingProxyType

from levit_deploy.bundle import MODEL, Bundle
from levit_deploy.engine_entry import EngineEntry
from levit_deploy.machine import describe_machine

_EVERY_SIZE = "takes every batch size of the graph"
NO_USE: Mapping[str, str] = MappingProxyType(
    {
        "compute_capabilities": "runs on the CPU",
        "min_batch": _EVERY_SIZE,
        "opt_batch": _EVERY_SIZE,
        "max_batch": _EVERY_SIZE,
        "workspace_mib": "has no workspace",
        "timing_cache": "has no timing cache",
    }
)
"""Options of a build that CPUs have no use for, for `refuse_options`."""


def cpu_requirements() -> dict[str, str]:
    """What of this machine decides which kernels an engine chose when it built."""
    return {"architecture": platform.machine(), "instruction set": " ".join(describe_machine().cpu_flags)}


def misfit(bundle: Bundle, entry: EngineEntry, libraries: Mapping[str, str]) -> str | None:
    """Why a built engine must not be used here, where `libraries` are installed, or None."""
    if entry.model_sha256 != bundle.manifest.members[MODEL].sha256:
        return f"it was made from another {MODEL}"
    for name, found in {**libraries, **cpu_requirements()}.items():
        wanted = {**entry.libraries, **entry.requirements}.get(name, "nothing")
        if wanted != found:
            return f"it was made for {name} {wanted}, here is {found}"
    return None

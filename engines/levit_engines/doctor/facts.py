"""What was found on this machine before anything was tried: plain values, so that verdicts can be tested on any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from levit_deploy.machine import Machine

# What decides the speed of a network, by the name people know it by, and the flags that each stand for it.
FEATURES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "x86": {
        "AVX2": ("avx2",),
        "AVX-512": ("avx512f",),
        "VNNI": ("avx512_vnni", "avx_vnni"),
        "AMX": ("amx_int8", "amx_bf16", "amx_fp16"),
    },
    "ARM": {"dot product": ("asimddp",), "i8mm": ("i8mm",), "half precision": ("asimdhp",)},
}


class DriverState(Enum):
    """What NVIDIA's own program says: it answers, it is not there, or it fails."""

    PRESENT = "present"
    ABSENT = "absent"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU as its driver describes it; None where the driver does not know."""

    name: str
    compute_capability: str | None
    memory_mib: int | None
    driver: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Nvidia:
    """The driver, why it fails, the GPUs it sees, and whether a GPU is there that perhaps has no driver."""

    state: DriverState
    message: str = ""
    gpus: tuple[Gpu, ...] = ()
    hardware: bool = False

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {"driver": self.state.value, "message": self.message, "gpu_without_driver": self._without_driver}

    @property
    def _without_driver(self) -> bool:
        return self.hardware and self.state is not DriverState.PRESENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that verdicts are made from, apart from probes.

    `packages` are versions by normalised name; `onnxruntime_builds` those that write into the package `onnxruntime`;
    `modules` the engine modules that Python finds, which does not mean that they can be imported.
    """

    toolkit: str
    machine: Machine
    nvidia: Nvidia
    packages: Mapping[str, str]
    onnxruntime_builds: tuple[str, ...]
    modules: frozenset[str]
    compiler: bool

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        machine = self.machine
        return {
            "levit_deploy": self.toolkit,
            "python": machine.python,
            "system": machine.system,
            "cpu": {
                "name": machine.cpu,
                "architecture": machine.architecture,
                "features": features(machine.architecture, machine.cpu_flags),
                "logical_cpus": machine.logical_cpus,
                "usable_cpus": machine.usable_cpus,
            },
            "memory_bytes": machine.memory_bytes,
            "cpp_compiler": self.compiler,
            "nvidia": self.nvidia.to_json(),
            "gpus": [asdict(gpu) for gpu in self.nvidia.gpus],
            "packages": dict(sorted(self.packages.items())),
        }


def features(architecture: str, flags: tuple[str, ...]) -> dict[str, bool]:
    """Which of the features that matter on this architecture the CPU has; none where the architecture is unknown."""
    family = "x86" if architecture in ("x86_64", "AMD64", "i686") else "ARM"
    known = FEATURES[family] if family == "x86" or architecture in ("aarch64", "arm64") else {}
    return {name: any(flag in flags for flag in alternatives) for name, alternatives in known.items()}

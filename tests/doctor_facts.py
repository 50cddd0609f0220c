"""Made-up machines for levit-doctor: a laptop without GPU, and whatever a test changes about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from levit_deploy.machine import Machine
from levit_engines.catalogue import CATALOGUE
from levit_engines.doctor.diagnosis import main_module
from levit_engines.doctor.facts import DriverState, Facts, Gpu, Nvidia
from levit_engines.doctor.probe import COMPARE, Outcome, Probe

MACHINE = Machine(
    cpu="A CPU",
    cpu_flags=("avx2", "avx512f"),
    logical_cpus=8,
    usable_cpus=4,
    memory_bytes=16 << 30,
    system="A System",
    kernel="Linux 6",
    architecture="x86_64",
    python="CPython 3.12",
    thread_variables={},
)
GPU = Gpu(name="A GPU", compute_capability="8.9", memory_mib=24576, driver="580.1")
NO_DRIVER = Nvidia(state=DriverState.ABSENT)
WITH_GPU = Nvidia(state=DriverState.PRESENT, gpus=(GPU,), hardware=True)


def make_facts(
    packages: Mapping[str, str] | None = None,
    *,
    builds: Iterable[str] = (),
    modules: Iterable[str] = (),
    nvidia: Nvidia = NO_DRIVER,
    compiler: bool = True,
    **machine: Any,
) -> Facts:
    """`builds` are ONNX Runtime's, and packages as well."""
    return Facts(
        toolkit="0",
        machine=replace(MACHINE, **machine),
        nvidia=nvidia,
        packages={**dict.fromkeys(builds, "1.0"), **(packages or {})},
        onnxruntime_builds=tuple(builds),
        modules=frozenset(modules),
        compiler=compiler,
    )


def make_probe(
    target: str,
    outcome: Outcome = Outcome.PASSED,
    stage: str = COMPARE,
    reason: str = "",
    *,
    built: bool = False,
) -> Probe:
    """A probe of an engine of the catalogue, or of a module."""
    module = main_module(CATALOGUE[target]) if target in CATALOGUE else target
    return Probe(target=target, module=module, outcome=outcome, stage=stage, reason=reason, built=built, seconds=1.0)

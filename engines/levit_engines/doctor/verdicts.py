"""Facts and a probe, made into what a user wants to know of an engine: does it run, why not, what is to be done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from levit_engines.catalogue import Engine
from levit_engines.doctor.clashes import Clash, reinstall
from levit_engines.doctor.facts import DriverState, Facts, Nvidia
from levit_engines.doctor.packages import packages_of
from levit_engines.doctor.probe import BINDINGS, COMPILE, DEVICE, OPEN, PROVIDER, Outcome, Probe


class State(Enum):
    """What an engine is good for on this machine."""

    WORKS = "works"
    BUILDS_ONLY = "builds only"
    FAILS = "does not work"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`remedy` is the one thing to do, empty when nothing is; `seconds` what the probe took, None without one."""

    engine: str
    title: str
    device: str
    state: State
    reason: str
    remedy: str
    seconds: float | None

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {
            "engine": self.engine,
            "title": self.title,
            "device": self.device,
            "verdict": self.state.value,
            "reason": self.reason,
            "remedy": self.remedy,
            "seconds": None if self.seconds is None else round(self.seconds, 3),
        }


def judge(engine: Engine, facts: Facts, probe: Probe | None, clashes: Sequence[Clash] = ()) -> Verdict:
    """The verdict on `engine`; only a probe that passed makes it "works"."""
    state, reason, remedy = _judgement(engine, facts, probe, clashes)
    seconds = None if probe is None else probe.seconds
    return Verdict(
        engine=engine.name,
        title=engine.title,
        device=engine.device,
        state=state,
        reason=reason,
        remedy=remedy,
        seconds=seconds,
    )


def _judgement(engine: Engine, facts: Facts, probe: Probe | None, clashes: Sequence[Clash]) -> tuple[State, str, str]:
    if probe is not None and probe.passed:
        return State.WORKS, "gave the right numbers", ""
    trouble = gpu_trouble(facts.nvidia) if engine.device == "cuda" else None
    if probe is not None and probe.built and probe.stage in (BINDINGS, DEVICE):
        reason, remedy = trouble or _device_trouble(engine, probe)
        return State.BUILDS_ONLY, f"built the test graph; cannot run it here: {reason}", remedy
    if trouble is not None and not engine.builds_without_gpu:
        return State.FAILS, *trouble
    if probe is None:
        return State.FAILS, f"{main_module(engine)} is not installed", install(engine)
    return State.FAILS, probe.reason, _remedy(engine, facts, probe, clashes)


def main_module(engine: Engine) -> str:
    """The package that makes the engine; what else it needs comes after it."""
    return next(iter(engine.distributions))


def install(engine: Engine) -> str:
    """The command that installs what `engine` needs."""
    return f'pip install "levit-deploy[{engine.extra}]"'


def gpu_trouble(nvidia: Nvidia) -> tuple[str, str] | None:
    """Why no GPU can be used, and the remedy; None where the driver sees one."""
    if nvidia.gpus:
        return None
    if nvidia.state is DriverState.FAILED:
        return f"the NVIDIA driver does not answer: {nvidia.message}", "install the NVIDIA driver again and restart"
    if nvidia.state is DriverState.PRESENT:
        return "the NVIDIA driver sees no GPU", "give this machine or container access to a GPU"
    if nvidia.hardware:
        return "no NVIDIA driver", "install the NVIDIA driver (in a container: start it with access to the GPU)"
    return "no NVIDIA driver", "use a machine with an NVIDIA GPU and its driver"


def _device_trouble(engine: Engine, probe: Probe) -> tuple[str, str]:
    if probe.stage == BINDINGS or install(engine) in probe.reason:
        return probe.reason, install(engine)
    if "compute capability" in probe.reason:
        return probe.reason, "use another engine for this GPU (onnxruntime-cuda, tensorrt), or update its driver"
    if "NoDevice" in probe.reason or "sees no GPU" in probe.reason:
        return probe.reason, "let CUDA see a GPU: unset CUDA_VISIBLE_DEVICES, or name one that exists"
    return probe.reason, "update the NVIDIA driver"


def _remedy(engine: Engine, facts: Facts, probe: Probe, clashes: Sequence[Clash]) -> str:
    """What mends a probe that failed."""
    mine = packages_of(main_module(engine), facts.packages, facts.onnxruntime_builds)
    for clash in clashes:
        if set(mine) & set(clash.packages):
            return clash.remedy
    if probe.stage == PROVIDER and probe.outcome is Outcome.FAILED:
        others = [name for name in mine if name != engine.distributions[main_module(engine)]]
        return f"pip uninstall -y {' '.join(others)} && {install(engine)}" if others else install(engine)
    if probe.stage == COMPILE and not facts.compiler:
        return "install a C++ compiler (Debian, Ubuntu: apt install g++)"
    if probe.stage == OPEN and engine.device == "cuda":
        return install(engine).replace("pip install", "pip install --upgrade")
    if probe.outcome is Outcome.TIMED_OUT:
        return f"try it again when the machine is idle: levit-doctor --engine {engine.name}"
    return _last_resort(engine, facts, probe, mine)


def _last_resort(engine: Engine, facts: Facts, probe: Probe, mine: Sequence[str]) -> str:
    if probe.stage == COMPILE and "Python.h" in probe.reason:
        return "install Python's headers (Debian, Ubuntu: apt install python3-dev)"
    if probe.stage == DEVICE:
        return _device_trouble(engine, probe)[1]
    if engine.name == "native":
        compiler = "" if facts.compiler else "install a C++ compiler (Debian, Ubuntu: apt install g++), then "
        return f"{compiler}pip install --force-reinstall --no-deps levit-deploy"
    return reinstall(mine, facts.packages) if mine else install(engine)

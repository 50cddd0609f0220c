# ruff: noqa: N802 (names are those of the bindings)
"""The GPU that this process would use, asked of NVIDIA's own bindings of the CUDA runtime."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

from levit_deploy.errors import EnvironmentIncompleteError, RunnerError

MODULE = "cuda.bindings.runtime"
T = TypeVar("T")


class Status(Protocol):
    """A cudaError_t."""

    @property
    def name(self) -> str: ...


class Attributes(Protocol):
    """The device attributes that we ask for."""

    @property
    def cudaDevAttrComputeCapabilityMajor(self) -> Any: ...

    @property
    def cudaDevAttrComputeCapabilityMinor(self) -> Any: ...


class DeviceProperties(Protocol):
    """What a device says of itself; the name is an array of characters that zeros may fill up."""

    @property
    def name(self) -> bytes: ...


class DeviceQueries(Protocol):
    """The part of `cuda.bindings.runtime` that asks for devices; every call returns a status first."""

    @property
    def cudaDeviceAttr(self) -> Attributes: ...

    def cudaGetDeviceCount(self) -> tuple[Status, int]: ...

    def cudaDriverGetVersion(self) -> tuple[Status, int]: ...

    def cudaDeviceGetAttribute(self, attribute: Any, device: int, /) -> tuple[Status, int]: ...

    def cudaGetDeviceProperties(self, device: int, /) -> tuple[Status, DeviceProperties]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """The first GPU: its name, its compute capability, and the newest CUDA version that its driver can run."""

    name: str
    capability: tuple[int, int]
    driver: str

    @property
    def capability_text(self) -> str:
        """The compute capability as users write it, "8.6"."""
        return f"{self.capability[0]}.{self.capability[1]}"

    def to_json(self) -> dict[str, str]:
        """What a manifest records of it."""
        return {"name": self.name, "compute_capability": self.capability_text, "driver": self.driver}


def load_cuda(extra: str) -> Any:
    """The module of the CUDA runtime's bindings; raises EnvironmentIncompleteError, naming `extra`, without it."""
    try:
        return importlib.import_module(MODULE)
    except (ImportError, OSError) as error:
        raise EnvironmentIncompleteError(
            f'cuda.bindings cannot be imported ({error}): pip install "levit-deploy[{extra}]"'
        ) from error


def value_of(result: tuple[Status, T], action: str) -> T:
    """What a call of the CUDA runtime returned beside its status; raises RunnerError with the status' name."""
    require_success(result, action)
    return result[1]


def require_success(result: tuple[Any, ...], action: str) -> None:
    """Raise RunnerError, with the name that CUDA gives the failure, unless a call succeeded."""
    status: Status = result[0]
    if status.name != "cudaSuccess":
        raise RunnerError(f"{action} failed: {status.name}")


def find_gpu(cuda: DeviceQueries) -> Gpu:
    """The first GPU; raises EnvironmentIncompleteError, with what is missing, when there is none that can be used."""
    status, count = cuda.cudaGetDeviceCount()
    if status.name == "cudaErrorInsufficientDriver":
        raise EnvironmentIncompleteError(
            "no NVIDIA driver, or one too old for this CUDA: install the driver, or use a machine with an NVIDIA GPU"
        )
    if status.name != "cudaSuccess" or not count:
        reason = "CUDA sees no GPU" if status.name == "cudaSuccess" else status.name
        raise EnvironmentIncompleteError(
            f"no NVIDIA GPU can be used here ({reason}): look at nvidia-smi and CUDA_VISIBLE_DEVICES"
        )
    attributes = cuda.cudaDeviceAttr
    version = value_of(cuda.cudaDriverGetVersion(), "asking for the driver's version")
    major, minor = (
        value_of(cuda.cudaDeviceGetAttribute(attribute, 0), "asking for the compute capability")
        for attribute in (attributes.cudaDevAttrComputeCapabilityMajor, attributes.cudaDevAttrComputeCapabilityMinor)
    )
    properties = value_of(cuda.cudaGetDeviceProperties(0), "asking for the GPU's name")
    return Gpu(
        name=properties.name.split(b"\0")[0].decode(errors="replace"),
        capability=(major, minor),
        driver=f"CUDA {version // 1000}.{version % 1000 // 10}",
    )


def gpu_or_reason(extra: str) -> tuple[Gpu | None, str]:
    """The first GPU, or None and the sentence that says what is missing."""
    try:
        return find_gpu(cast(DeviceQueries, load_cuda(extra))), ""
    except EnvironmentIncompleteError as error:
        return None, str(error)

# ruff: noqa: N802 (names are those of the bindings)
"""What only some releases or flavours have of the API; each is asked for with `isinstance`, never by version."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from levit_engines.tensorrt.api import Enumeration, Member, TrtContext, TrtHostMemory


@runtime_checkable
class TargetingLibrary(Protocol):
    """A library that builds for GPUs that are not here."""

    @property
    def ComputeCapability(self) -> Enumeration: ...


@runtime_checkable
class TargetingConfig(Protocol):
    """The configuration of such a build."""

    num_compute_capabilities: int

    def set_compute_capability(self, compute_capability: Member, index: int) -> bool: ...


@runtime_checkable
class SpecializingLibrary(Protocol):
    """A library that compiles kernels for the shapes at hand while an engine of dynamic shapes runs."""

    @property
    def DynamicShapesKernelSpecializationStrategy(self) -> Enumeration: ...


@runtime_checkable
class HeaderCheckingRuntime(Protocol):
    """A runtime that judges a plan by its first bytes; diagnostics are bits, of which `EngineInvalidity` names some."""

    @property
    def engine_header_size(self) -> int: ...

    def get_engine_validity(self, buffer: bytes) -> tuple[Member, int]: ...


@runtime_checkable
class DiagnosingLibrary(Protocol):
    """A library whose runtime is a `HeaderCheckingRuntime`: what the bits mean."""

    @property
    def EngineInvalidityDiagnostics(self) -> Enumeration: ...


@runtime_checkable
class CapturableContext(Protocol):
    """A context that knows whether its work can be captured into a CUDA graph."""

    def is_stream_capturable(self, stream_handle: int) -> bool: ...


class RuntimeCache(Protocol):
    """Kernels that were compiled while an engine ran; what does not fit the machine it refuses with False."""

    def deserialize(self, blob: bytes) -> bool: ...

    def serialize(self) -> TrtHostMemory | None: ...


@runtime_checkable
class CachingConfig(Protocol):
    """The settings of a context, of a library that compiles kernels while an engine runs."""

    def create_runtime_cache(self) -> RuntimeCache: ...

    def set_runtime_cache(self, cache: RuntimeCache) -> bool: ...


@runtime_checkable
class ConfigurableEngine(Protocol):
    """An engine whose contexts have settings, which need not be a `CachingConfig`."""

    def create_runtime_config(self) -> object: ...

    def create_execution_context(self, runtime_config: object = ...) -> TrtContext | None: ...

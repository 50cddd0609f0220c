# ruff: noqa: N802 (names are those of the bindings)
"""The part of TensorRT's Python API that we use; nothing else of it may be used, and mypy sees to that.

Every release from 10.0 on, and TensorRT-RTX, have all of it; what only some have is in `optional_api`. A test reads the
bindings of several releases and finds every member there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Member(Protocol):
    """One value of an enumeration; its number differs from release to release, its name does not."""

    @property
    def name(self) -> str: ...

    def __int__(self) -> int: ...


class Enumeration(Protocol):
    """An enumeration whose values are looked up by name."""

    @property
    def __members__(self) -> Mapping[str, Member]: ...


class NetworkFlags(Protocol):
    """Kinds of network."""

    @property
    def STRONGLY_TYPED(self) -> Member: ...


class MemoryPools(Protocol):
    """What a memory limit can be for."""

    @property
    def WORKSPACE(self) -> Member: ...


class BuilderFlags(Protocol):
    """What a builder may do of its own accord."""

    @property
    def TF32(self) -> Member: ...


class Verbosities(Protocol):
    """How much an engine tells of its layers."""

    @property
    def DETAILED(self) -> Member: ...


class InformationFormats(Protocol):
    """How an inspector writes."""

    @property
    def JSON(self) -> Member: ...


class TrtLogger(Protocol):
    """Receives messages; what we hand in overrides `log`."""

    def log(self, severity: Member, message: str) -> None: ...


class TrtProgressMonitor(Protocol):
    """Is told of the phases of a build, from any thread; returning False from `step_complete` cancels it."""

    def phase_start(self, phase: str, parent: str | None, steps: int) -> None: ...

    def phase_finish(self, phase: str) -> None: ...

    def step_complete(self, phase: str, step: int) -> bool: ...


class TrtTensor(Protocol):
    """A value of the parsed network; a dimension of -1 is dynamic."""

    @property
    def name(self) -> str: ...

    @property
    def dtype(self) -> Member: ...

    @property
    def shape(self) -> Sequence[int]: ...


class TrtLayer(Protocol):
    """An operation of the parsed network."""

    @property
    def type(self) -> Member: ...

    @property
    def num_outputs(self) -> int: ...

    def get_input(self, index: int) -> TrtTensor | None: ...

    def get_output(self, index: int) -> TrtTensor: ...


class TrtNetwork(Protocol):
    """What the parser made of the graph."""

    @property
    def num_layers(self) -> int: ...

    @property
    def num_inputs(self) -> int: ...

    @property
    def num_outputs(self) -> int: ...

    def get_layer(self, index: int) -> TrtLayer: ...

    def get_input(self, index: int) -> TrtTensor: ...

    def get_output(self, index: int) -> TrtTensor: ...


class TrtParserError(Protocol):
    """One thing that the parser refused; a node below 0 means no node in particular."""

    def code(self) -> Member: ...

    def desc(self) -> str: ...

    def func(self) -> str: ...

    def node(self) -> int: ...

    def node_name(self) -> str: ...

    def node_operator(self) -> str: ...


class TrtParser(Protocol):
    """Reads ONNX; on an empty file it succeeds, with an empty network."""

    @property
    def num_errors(self) -> int: ...

    def get_error(self, index: int) -> TrtParserError: ...

    def parse(self, model: bytes) -> bool: ...


class TrtProfile(Protocol):
    """Shapes to build for; `set_shape` checks nothing."""

    def set_shape(self, input: str, min: Sequence[int], opt: Sequence[int], max: Sequence[int]) -> None: ...


class TrtHostMemory(Protocol):
    """Bytes that belong to the library."""

    def __buffer__(self, flags: int, /) -> memoryview: ...


class TrtTimingCache(Protocol):
    """Timings of kernels, kept from build to build."""

    def serialize(self) -> TrtHostMemory: ...


class TrtBuilderConfig(Protocol):
    """Settings of a build; `add_optimization_profile` returns -1 for a profile it refuses."""

    progress_monitor: TrtProgressMonitor
    profiling_verbosity: Member

    def clear_flag(self, flag: Member) -> None: ...

    def set_memory_pool_limit(self, pool: Member, pool_size: int) -> None: ...

    def add_optimization_profile(self, profile: TrtProfile) -> int: ...

    def create_timing_cache(self, serialized_timing_cache: bytes) -> TrtTimingCache: ...

    def set_timing_cache(self, cache: TrtTimingCache, ignore_mismatch: bool) -> bool: ...

    def get_timing_cache(self) -> TrtTimingCache | None: ...


class TrtBuilder(Protocol):
    """Makes plans; returns None where it fails."""

    def create_network(self, flags: int) -> TrtNetwork: ...

    def create_builder_config(self) -> TrtBuilderConfig: ...

    def create_optimization_profile(self) -> TrtProfile: ...

    def build_serialized_network(self, network: TrtNetwork, config: TrtBuilderConfig) -> TrtHostMemory | None: ...


class TrtContext(Protocol):
    """An engine with the memory to run it."""

    def set_input_shape(self, name: str, shape: Sequence[int]) -> bool: ...

    def set_tensor_address(self, name: str, memory: int) -> bool: ...

    def execute_async_v3(self, stream_handle: int) -> bool: ...


class TrtInspector(Protocol):
    """Tells of the layers that an engine really has."""

    def get_engine_information(self, format: Member) -> str: ...


class TrtEngine(Protocol):
    """A plan that was loaded."""

    @property
    def num_io_tensors(self) -> int: ...

    def get_tensor_name(self, index: int) -> str: ...

    def get_tensor_mode(self, name: str) -> Member: ...

    def get_tensor_dtype(self, name: str) -> Member: ...

    def get_tensor_shape(self, name: str) -> Sequence[int]: ...

    def create_execution_context(self) -> TrtContext | None: ...

    def create_engine_inspector(self) -> TrtInspector: ...


class TrtRuntime(Protocol):
    """Loads plans; returns None where it fails."""

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> TrtEngine | None: ...


class Library(Protocol):
    """The module itself: `tensorrt` or `tensorrt_rtx`."""

    @property
    def __version__(self) -> str: ...

    @property
    def ILogger(self) -> type[Any]: ...

    @property
    def IProgressMonitor(self) -> type[Any]: ...

    @property
    def NetworkDefinitionCreationFlag(self) -> NetworkFlags: ...

    @property
    def MemoryPoolType(self) -> MemoryPools: ...

    @property
    def BuilderFlag(self) -> BuilderFlags: ...

    @property
    def ProfilingVerbosity(self) -> Verbosities: ...

    @property
    def LayerInformationFormat(self) -> InformationFormats: ...

    def Builder(self, logger: TrtLogger, /) -> TrtBuilder: ...

    def OnnxParser(self, network: TrtNetwork, logger: TrtLogger, /) -> TrtParser: ...

    def Runtime(self, logger: TrtLogger, /) -> TrtRuntime: ...

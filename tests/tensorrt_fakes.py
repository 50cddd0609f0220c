# ruff: noqa: N802, N815 (names are those of the bindings)
"""A GPU and a TensorRT for tests: host memory as device memory, and an ONNX file as a plan that ONNX Runtime runs.

Everything reserved is written down, so that what is not freed, or used after it was, shows.
"""

from __future__ import annotations

import ctypes
import gc
from collections import Counter
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime

MAGIC = b"vtrt"
VERSION = "11.0.0"
WORK_MS = 0.25
"""What every copy and every run of a network takes by the GPU's own clock."""
TYPES = {
    "tensor(float)": ("FLOAT", np.float32),
    "tensor(uint8)": ("UINT8", np.uint8),
    "tensor(int64)": ("INT64", np.int64),
}


class Member:
    def __init__(self, name: str, number: int = 0) -> None:
        self.name, self.number = name, number

    def __int__(self) -> int:
        return self.number


def enumeration(*names: str, **numbered: int) -> Any:
    members = {name: Member(name, number) for number, name in enumerate(names)}
    members |= {name: Member(name, number) for name, number in numbered.items()}
    return SimpleNamespace(__members__=members, **members)


class FakeStream:
    def __init__(self, number: int) -> None:
        self.number = number
        self.recording: list[Callable[[], None]] | None = None
        self.spent_ms = 0.0

    def __int__(self) -> int:
        return self.number

    def do(self, work: Callable[[], None]) -> None:
        """Now, or when the graph that is being captured is launched."""
        if self.recording is None:
            work()
            self.spent_ms += WORK_MS
        else:
            self.recording.append(work)


class FakeCuda:
    """`failing` maps a call to the status that it gives instead, after `survives` calls that succeed."""

    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)
    cudaDeviceAttr = SimpleNamespace(cudaDevAttrComputeCapabilityMajor=0, cudaDevAttrComputeCapabilityMinor=1)
    cudaHostAllocDefault, cudaStreamNonBlocking = 0, 1

    def __init__(
        self,
        capability: tuple[int, int] = (8, 6),
        *,
        count: int = 1,
        failing: Mapping[str, str] | None = None,
        survives: int = 0,
    ) -> None:
        self.capability, self.count, self.failing, self.survives = capability, count, dict(failing or {}), survives
        self.memory: dict[int, Any] = {}
        self.streams: dict[int, FakeStream] = {}
        self.graphs: set[object] = set()
        self.stream_events: dict[int, Any] = {}
        self.calls: Counter[str] = Counter()
        self.events: list[str] = []

    @property
    def live(self) -> int:
        """Whatever was reserved and not given back."""
        return len(self.memory) + len(self.streams) + len(self.graphs) + len(self.stream_events)

    def _answer(self, name: str, make: Callable[[], Any] | None = None) -> Any:
        self.calls[name] += 1
        if name in self.failing and self.calls[name] > self.survives:
            return (Member(self.failing[name]), None) if make else (Member(self.failing[name]),)
        success = Member("cudaSuccess")
        return (success, make()) if make else (success,)

    def cudaGetDeviceCount(self) -> Any:
        return self._answer("cudaGetDeviceCount", lambda: self.count)

    def cudaDriverGetVersion(self) -> Any:
        return self._answer("cudaDriverGetVersion", lambda: 13050)

    def cudaDeviceGetAttribute(self, attribute: int, device: int) -> Any:
        return self._answer("cudaDeviceGetAttribute", lambda: self.capability[attribute])

    def cudaGetDeviceProperties(self, device: int) -> Any:
        return self._answer("cudaGetDeviceProperties", lambda: SimpleNamespace(name=b"NVIDIA Fake 1\0\0"))

    def _reserve(self, size: int) -> int:
        block = ctypes.create_string_buffer(b"\xa5" * size, size)
        self.memory[ctypes.addressof(block)] = block
        return ctypes.addressof(block)

    def cudaMalloc(self, size: int) -> Any:
        return self._answer("cudaMalloc", lambda: self._reserve(size))

    def cudaHostAlloc(self, size: int, flags: int) -> Any:
        return self._answer("cudaHostAlloc", lambda: self._reserve(size))

    def cudaFree(self, address: int) -> Any:
        self.events.append("memory freed")
        del self.memory[address]
        return self._answer("cudaFree")

    def cudaFreeHost(self, address: int) -> Any:
        del self.memory[address]
        return self._answer("cudaFreeHost")

    def check(self, address: int, size: int) -> None:
        """Fail the test that lets anything touch memory that is not reserved."""
        assert any(start <= address and address + size <= start + len(block) for start, block in self.memory.items())

    def cudaMemcpyAsync(self, target: int, source: int, count: int, kind: int, stream: FakeStream) -> Any:
        def copy() -> None:
            self.check(target, count)
            self.check(source, count)
            ctypes.memmove(target, source, count)

        stream.do(copy)
        return self._answer("cudaMemcpyAsync")

    def cudaStreamCreateWithFlags(self, flags: int) -> Any:
        def create() -> FakeStream:
            stream = FakeStream(1000 + len(self.streams))
            self.streams[stream.number] = stream
            return stream

        return self._answer("cudaStreamCreateWithFlags", create)

    def cudaStreamDestroy(self, stream: FakeStream) -> Any:
        self.events.append("stream destroyed")
        del self.streams[stream.number]
        return self._answer("cudaStreamDestroy")

    def cudaStreamSynchronize(self, stream: FakeStream) -> Any:
        return self._answer("cudaStreamSynchronize")

    def cudaStreamBeginCapture(self, stream: FakeStream, mode: int) -> Any:
        answer = self._answer("cudaStreamBeginCapture")
        stream.recording = [] if answer[0].name == "cudaSuccess" else None
        return answer

    def cudaStreamEndCapture(self, stream: FakeStream) -> Any:
        work, stream.recording = stream.recording, None
        return self._answer("cudaStreamEndCapture", lambda: self._graph(work))

    def _graph(self, work: Any) -> Any:
        graph = SimpleNamespace(work=work)
        self.graphs.add(id(graph))
        return graph

    def cudaGraphInstantiate(self, graph: Any, flags: int) -> Any:
        return self._answer("cudaGraphInstantiate", lambda: self._graph(graph.work))

    def cudaGraphLaunch(self, graph: Any, stream: FakeStream) -> Any:
        assert id(graph) in self.graphs
        for work in graph.work:
            stream.do(work)
        return self._answer("cudaGraphLaunch")

    def cudaEventCreate(self) -> Any:
        def create() -> Any:
            event = SimpleNamespace(recorded_ms=None)
            self.stream_events[id(event)] = event
            return event

        return self._answer("cudaEventCreate", create)

    def cudaEventDestroy(self, event: Any) -> Any:
        del self.stream_events[id(event)]
        return self._answer("cudaEventDestroy")

    def cudaEventRecord(self, event: Any, stream: FakeStream) -> Any:
        assert stream.recording is None, "what a graph records cannot be read"
        event.recorded_ms = stream.spent_ms
        return self._answer("cudaEventRecord")

    def cudaEventElapsedTime(self, start: Any, end: Any) -> Any:
        return self._answer("cudaEventElapsedTime", lambda: end.recorded_ms - start.recorded_ms)

    def cudaGraphDestroy(self, graph: Any) -> Any:
        self.graphs.remove(id(graph))
        return self._answer("cudaGraphDestroy")

    def cudaGraphExecDestroy(self, graph: Any) -> Any:
        self.graphs.remove(id(graph))
        return self._answer("cudaGraphExecDestroy")


class FakeLogger:
    def log(self, severity: Any, message: str) -> None: ...


class FakeMonitor:
    pass


class FakeContext:
    def __init__(self, engine: FakeEngine, cache: FakeRuntimeCache | None = None) -> None:
        self.engine, self.cache = engine, cache
        self.addresses: dict[str, int] = {}
        self.shape: tuple[int, ...] = ()

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = tuple(shape)
        self.engine.library.shapes.append(self.shape)
        return self.engine.library.accepts_shapes

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self.addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        library = self.engine.library
        stream = library.cuda.streams[stream_handle]
        if library.fails_in_capture and stream.recording is not None:
            return False
        if library.fails:
            library.say("ERROR", "the kernel did not run")
            return False
        shape = self.shape
        stream.do(lambda: self._execute(shape))
        return True

    def _execute(self, shape: tuple[int, ...]) -> None:
        session, cuda = self.engine.session, self.engine.library.cuda
        if self.cache is not None:
            self.cache.kernels |= {f" {shape}".encode()}
        (source,) = session.get_inputs()
        dtype = TYPES[source.type][1]
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        cuda.check(self.addresses[source.name], size)
        images = np.frombuffer(ctypes.string_at(self.addresses[source.name], size), dtype).reshape(shape)
        for output, value in zip(session.get_outputs(), session.run(None, {source.name: images}), strict=True):
            content = np.ascontiguousarray(value + self.engine.library.error()).astype(value.dtype).tobytes()
            cuda.check(self.addresses[output.name], len(content))
            ctypes.memmove(self.addresses[output.name], content, len(content))

    def __del__(self) -> None:
        self.engine.library.cuda.events.append("context freed")


class FakeEngine:
    def __init__(self, library: FakeLibrary, runtime: FakeRuntime, model: bytes) -> None:
        self.library, self.runtime = library, runtime
        self.session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        self.tensors = {item.name: (mode, item) for mode, items in self._items() for item in items}

    def _items(self) -> Any:
        return (("INPUT", self.session.get_inputs()), ("OUTPUT", self.session.get_outputs()))

    @property
    def num_io_tensors(self) -> int:
        return len(self.tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_mode(self, name: str) -> Member:
        return Member(self.tensors[name][0])

    def get_tensor_dtype(self, name: str) -> Member:
        return Member(TYPES[self.tensors[name][1].type][0])

    def get_tensor_shape(self, name: str) -> list[int]:
        return [side if isinstance(side, int) else -1 for side in self.tensors[name][1].shape]

    def create_execution_context(self) -> FakeContext | None:
        return FakeContext(self) if self.library.has_memory else None

    def create_engine_inspector(self) -> Any:
        return SimpleNamespace(get_engine_information=lambda format: self.library.information)

    def __del__(self) -> None:
        self.library.cuda.events.append("engine freed")


class FakeRuntimeCache:
    """Kernels are the shapes that were run."""

    def __init__(self, library: FakeLibrary) -> None:
        self.library = library
        self.kernels: set[bytes] = set()

    def deserialize(self, blob: bytes) -> bool:
        head, *kernels = blob.split(b";")
        if head != b"kernels":
            return False
        self.kernels = set(kernels)
        self.library.restored.append(len(kernels))
        return True

    def serialize(self) -> bytes:
        return b";".join([b"kernels", *sorted(self.kernels)])

    def __del__(self) -> None:
        self.library.cuda.events.append("cache freed")


class FakeRuntimeConfig:
    def __init__(self, library: FakeLibrary) -> None:
        self.library = library
        self.cache: FakeRuntimeCache | None = None

    def create_runtime_cache(self) -> FakeRuntimeCache:
        return FakeRuntimeCache(self.library)

    def set_runtime_cache(self, cache: FakeRuntimeCache) -> bool:
        if self.library.takes_caches:
            self.cache = cache
        return self.library.takes_caches


class CachingEngine(FakeEngine):
    """As TensorRT-RTX's: its contexts have settings, and a cache among them."""

    def create_runtime_config(self) -> FakeRuntimeConfig:
        return FakeRuntimeConfig(self.library)

    def create_execution_context(self, runtime_config: FakeRuntimeConfig | None = None) -> FakeContext | None:
        cache = None if runtime_config is None else runtime_config.cache
        return FakeContext(self, cache) if self.library.has_memory else None


class FakeRuntime:
    def __init__(self, library: FakeLibrary) -> None:
        self.library = library

    def deserialize_cuda_engine(self, plan: bytes) -> FakeEngine | None:
        self.library.loaded += 1
        if not plan.startswith(MAGIC):
            self.library.say("ERROR", "header.magicTag == kEXPECTED_MAGIC_TAG failed")
            return None
        if self.library.refusal:
            self.library.say("ERROR", self.library.refusal)
            return None
        return self.library.Engine(self.library, self, plan[len(MAGIC) :])

    def __del__(self) -> None:
        self.library.cuda.events.append("runtime freed")


class FakeLibrary:
    """The module `tensorrt`, as far as a runner uses it."""

    ILogger, IProgressMonitor = FakeLogger, FakeMonitor
    LayerInformationFormat = enumeration("ONELINE", "JSON")
    ProfilingVerbosity = enumeration("LAYER_NAMES_ONLY", "NONE", "DETAILED")
    NetworkDefinitionCreationFlag = enumeration("EXPLICIT_BATCH", "STRONGLY_TYPED")
    MemoryPoolType = enumeration("WORKSPACE")
    BuilderFlag = enumeration("FP16", "TF32")
    Engine = FakeEngine

    def __init__(self, cuda: FakeCuda, version: str = VERSION) -> None:
        self.cuda = cuda
        self.__version__ = version
        self.logger: Any = None
        self.loaded = 0
        self.shapes: list[tuple[int, ...]] = []
        self.accepts_shapes = self.has_memory = True
        self.fails = self.fails_in_capture = False
        self.refusal = ""
        self.takes_caches = True
        self.restored: list[int] = []
        self.error: Callable[[], float] = float
        self.information = '{"Layers": []}'

    def say(self, severity: str, message: str) -> None:
        self.logger.log(Member(severity), message)

    def Runtime(self, logger: Any) -> Any:
        self.logger = logger
        return FakeRuntime(self)


class SpecializingFake(FakeLibrary):
    """As TensorRT-RTX: compiles kernels for shapes while it runs and keeps them, judges headers, names its GPUs."""

    Engine = CachingEngine
    ComputeCapability = enumeration(NONE=0, CURRENT=1, SM75=75, SM80=80, SM86=86, SM89=89, SM120=120)
    DynamicShapesKernelSpecializationStrategy = enumeration("LAZY", "EAGER")
    EngineInvalidityDiagnostics = enumeration(VERSION_MISMATCH=1, INSUFFICIENT_GPU_MEMORY=16, MALFORMED_ENGINE=32)

    def __init__(self, cuda: FakeCuda, version: str = VERSION) -> None:
        super().__init__(cuda, version)
        self.verdict = ("VALID", 0)

    def Runtime(self, logger: Any) -> Any:
        runtime = super().Runtime(logger)
        runtime.engine_header_size = 64
        name, bits = self.verdict
        runtime.get_engine_validity = lambda buffer: (Member(name), bits)
        return runtime


def freed_in_order(cuda: FakeCuda) -> list[str]:
    """What was let go of, in order, each kind once."""
    gc.collect()
    return list(dict.fromkeys(cuda.events))

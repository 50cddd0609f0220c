# ruff: noqa: N802 (names are those of the bindings)
"""Memory, streams, events and graphs of the CUDA runtime, each freed by the stack that it was entered into."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from levit_engines.tensorrt.devices import DeviceQueries, Status, require_success, value_of


class CopyKinds(Protocol):
    """Directions of a copy."""

    @property
    def cudaMemcpyHostToDevice(self) -> Any: ...

    @property
    def cudaMemcpyDeviceToHost(self) -> Any: ...


class CaptureModes(Protocol):
    """What else may be called while a stream is captured."""

    @property
    def cudaStreamCaptureModeThreadLocal(self) -> Any: ...


class CudaRuntime(DeviceQueries, Protocol):
    """The part of `cuda.bindings.runtime` that we use; every call returns a status first."""

    @property
    def cudaMemcpyKind(self) -> CopyKinds: ...

    @property
    def cudaStreamCaptureMode(self) -> CaptureModes: ...

    @property
    def cudaHostAllocDefault(self) -> int: ...

    @property
    def cudaStreamNonBlocking(self) -> int: ...

    def cudaMalloc(self, size: int, /) -> tuple[Status, int]: ...

    def cudaFree(self, address: int, /) -> tuple[Status]: ...

    def cudaHostAlloc(self, size: int, flags: int, /) -> tuple[Status, int]: ...

    def cudaFreeHost(self, address: int, /) -> tuple[Status]: ...

    def cudaMemcpyAsync(self, target: int, source: int, count: int, kind: Any, stream: Any, /) -> tuple[Status]: ...

    def cudaStreamCreateWithFlags(self, flags: int, /) -> tuple[Status, Any]: ...

    def cudaStreamDestroy(self, stream: Any, /) -> tuple[Status]: ...

    def cudaStreamSynchronize(self, stream: Any, /) -> tuple[Status]: ...

    def cudaStreamBeginCapture(self, stream: Any, mode: Any, /) -> tuple[Status]: ...

    def cudaStreamEndCapture(self, stream: Any, /) -> tuple[Status, Any]: ...

    def cudaGraphInstantiate(self, graph: Any, flags: int, /) -> tuple[Status, Any]: ...

    def cudaGraphLaunch(self, graph: Any, stream: Any, /) -> tuple[Status]: ...

    def cudaGraphDestroy(self, graph: Any, /) -> tuple[Status]: ...

    def cudaGraphExecDestroy(self, graph: Any, /) -> tuple[Status]: ...

    def cudaEventCreate(self) -> tuple[Status, Any]: ...

    def cudaEventDestroy(self, event: Any, /) -> tuple[Status]: ...

    def cudaEventRecord(self, event: Any, stream: Any, /) -> tuple[Status]: ...

    def cudaEventElapsedTime(self, start: Any, end: Any, /) -> tuple[Status, float]: ...


@dataclass(frozen=True, slots=True)
class Buffer:
    """One tensor at its largest: bytes on the device, and a view of as many pinned ones on the host, if any."""

    device: int
    host: NDArray[np.uint8] | None
    host_address: int


def open_stream(cuda: CudaRuntime, stack: ExitStack) -> Any:
    """A stream that waits for no other; `stack` destroys it."""
    stream = value_of(cuda.cudaStreamCreateWithFlags(cuda.cudaStreamNonBlocking), "creating a CUDA stream")
    stack.callback(cuda.cudaStreamDestroy, stream)
    return stream


class StreamClock:
    """What the GPU takes for work on one stream, by its own clock: CUDA events before and after it."""

    def __init__(self, cuda: CudaRuntime, stack: ExitStack, stream: Any) -> None:
        """`stack` destroys the events. Raises RunnerError."""
        self._cuda, self._stream = cuda, stream
        self._events = []
        for _ in range(2):
            event = value_of(cuda.cudaEventCreate(), "creating a CUDA event")
            stack.callback(cuda.cudaEventDestroy, event)
            self._events.append(event)

    def begin(self) -> None:
        """The work that follows on the stream is timed. Raises RunnerError."""
        require_success(self._cuda.cudaEventRecord(self._events[0], self._stream), "recording a CUDA event")

    def end(self) -> None:
        """The work on the stream is timed up to here. Raises RunnerError."""
        require_success(self._cuda.cudaEventRecord(self._events[1], self._stream), "recording a CUDA event")

    def elapsed_ns(self) -> int:
        """Nanoseconds between the two, to about 500, once the stream was waited for. Raises RunnerError."""
        elapsed_ms = value_of(self._cuda.cudaEventElapsedTime(*self._events), "reading CUDA events")
        return round(1e6 * elapsed_ms)


def allocate(cuda: CudaRuntime, stack: ExitStack, size_bytes: int, *, pinned: bool) -> Buffer:
    """Device memory of `size_bytes`, with pinned host memory beside it if asked for; `stack` frees both."""
    device = value_of(cuda.cudaMalloc(size_bytes), f"reserving {size_bytes} bytes on the GPU")
    stack.callback(cuda.cudaFree, device)
    if not pinned:
        return Buffer(device, None, 0)
    address = value_of(
        cuda.cudaHostAlloc(size_bytes, cuda.cudaHostAllocDefault), f"pinning {size_bytes} bytes of memory"
    )
    stack.callback(cuda.cudaFreeHost, address)
    return Buffer(device, np.ctypeslib.as_array((ctypes.c_uint8 * size_bytes).from_address(address)), address)


def capture(cuda: CudaRuntime, stream: Any, work: Callable[[], None]) -> Any:
    """An executable graph of what `work` puts on `stream`, to be destroyed by the caller.

    Raises RunnerError when some of it cannot be captured; the stream is then as it was.
    """
    mode = cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    require_success(cuda.cudaStreamBeginCapture(stream, mode), "beginning to capture a CUDA graph")
    try:
        work()
    except BaseException:
        abandoned = cuda.cudaStreamEndCapture(stream)  # the stream stays unusable until then
        if abandoned[0].name == "cudaSuccess":
            cuda.cudaGraphDestroy(abandoned[1])
        raise
    graph = value_of(cuda.cudaStreamEndCapture(stream), "capturing a CUDA graph")
    try:
        return value_of(cuda.cudaGraphInstantiate(graph, 0), "instantiating a CUDA graph")
    finally:
        cuda.cudaGraphDestroy(graph)

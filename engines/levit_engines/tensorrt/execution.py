"""A loaded plan and the memory it works in: images in, logits out, one call at a time."""

from __future__ import annotations

from contextlib import ExitStack
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from levit_deploy.errors import BundleError, RunnerError
from levit_deploy.manifest import TensorSpecification
from levit_deploy.runner import LOGITS
from levit_engines.tensorrt.api import Library, TrtContext, TrtEngine, TrtLogger, TrtRuntime
from levit_engines.tensorrt.compatibility import refusal_to_load, require_loadable_header
from levit_engines.tensorrt.devices import require_success
from levit_engines.tensorrt.kernels import KeptKernels
from levit_engines.tensorrt.memory import Buffer, CudaRuntime, StreamClock, allocate, capture, open_stream
from levit_engines.tensorrt.messages import MessageLog
from levit_engines.tensorrt.optional_api import CapturableContext
from levit_engines.tensorrt.tensors import promised_tensors, tensors_of


class Execution:
    """An engine with its context, buffers for the largest batch, and one stream; not safe to share between threads.

    The second run of a batch size is captured into a CUDA graph where `graphs` allows it, which runs from then on
    until the batch size changes. The first one is not: TensorRT sets itself up in it.
    """

    def __init__(
        self,
        library: Library,
        cuda: CudaRuntime,
        *,
        images: TensorSpecification,
        outputs: tuple[TensorSpecification, ...],
        maximum: int,
        graphs: bool,
    ) -> None:
        """Reserve what a batch of `maximum` needs; `load` gives it an engine. Raises RunnerError."""
        self._library = library
        self._cuda = cuda
        self._images = images
        self._outputs = outputs
        self._graphs = graphs
        self._kernels: KeptKernels | None = None
        self._log = MessageLog()
        self._logger: TrtLogger | None = None
        self._runtime: TrtRuntime | None = None
        self._engine: TrtEngine | None = None
        self._context: TrtContext | None = None
        self._batch = 0
        self._warm = False
        self._graph: Any = None
        self.gpu_ns: int | None = None
        """What the GPU took for the last run by its own clock, copies included; None before the first."""
        self._stack = ExitStack()
        try:
            # Freed in the opposite order: engine, buffers, stream.
            self._stream = open_stream(cuda, self._stack)
            self._clock = StreamClock(cuda, self._stack, self._stream)
            copied = (images.name, LOGITS)
            self._buffers = {
                item.name: allocate(cuda, self._stack, _size_bytes(item, maximum), pinned=item.name in copied)
                for item in (images, *outputs)
            }
            self._stack.callback(self._release)
        except BaseException:
            self._stack.close()
            raise

    @property
    def uses_graph(self) -> bool:
        """Whether the batch size at hand runs as a CUDA graph."""
        return self._graph is not None

    def load(self, plan: bytes, name: str, remedy: str, kernels: KeptKernels | None = None) -> None:
        """Deserialise `plan`, called `name` in messages, and prove that it takes and gives what was promised.

        `remedy` is the command that builds another. `kernels` are used, and closed at the end.

        Raises:
            BundleError: it is no plan, or another network's.
            EnvironmentIncompleteError: it is not for this machine.
            RunnerError: CUDA failed.
        """
        self._logger = self._log.logger(self._library)
        self._runtime = self._library.Runtime(self._logger)
        require_loadable_header(self._runtime, self._library, plan, name, remedy)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise refusal_to_load(self._said(), name, remedy)
        found, wanted = tensors_of(self._engine), promised_tensors(self._images, self._outputs)
        if found != wanted:
            raise BundleError(f"{name}: has {found}, manifest.json promises {wanted}: run {remedy}")
        self._kernels = kernels
        self._context = (
            self._engine.create_execution_context() if kernels is None else kernels.create_context(self._engine)
        )
        if self._context is None:
            raise RunnerError(f"{name}: no execution context could be made ({self._said()}): free memory of the GPU")
        for tensor, buffer in self._buffers.items():
            if not self._context.set_tensor_address(tensor, buffer.device):
                raise RunnerError(f"TensorRT refused the memory of {tensor}: {self._said()}")

    def run(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Logits (B, K) of images that were checked, in an array of their own. Raises RunnerError."""
        batch = len(images)
        if batch != self._batch:
            self._set_batch(batch)
        source = self._buffers[self._images.name]
        logits = _logits(self._outputs)
        _host_view(source, self._images, batch)[...] = images
        self._capture_when_warm()
        self._clock.begin()
        if self._graph is not None:
            require_success(self._cuda.cudaGraphLaunch(self._graph, self._stream), "launching a CUDA graph")
        else:
            self._enqueue()
        self._clock.end()
        require_success(self._cuda.cudaStreamSynchronize(self._stream), "running the network")
        self.gpu_ns = self._clock.elapsed_ns()
        self._warm = True
        result: NDArray[np.float32] = _host_view(self._buffers[logits.name], logits, batch).copy()
        return result

    def close(self) -> None:
        """Free everything: graph, context, engine, runtime, buffers, stream."""
        self._stack.close()

    def _set_batch(self, batch: int) -> None:
        self._drop_graph()
        self._warm, self._batch = False, 0
        shape = (batch, *_image_shape(self._images))
        if not self._open_context().set_input_shape(self._images.name, shape):
            raise RunnerError(f"TensorRT refused the shape {shape} of {self._images.name}: {self._said()}")
        self._batch = batch

    def _capture_when_warm(self) -> None:
        if not (self._graphs and self._warm) or self._graph is not None:
            return
        context = self._open_context()
        if isinstance(context, CapturableContext) and not context.is_stream_capturable(int(self._stream)):
            self._graphs = False
            return
        try:
            self._graph = capture(self._cuda, self._stream, self._enqueue)
        except RunnerError:
            self._graphs = False  # the network runs without one too

    def _enqueue(self) -> None:
        """Images to the GPU, the network, logits back; all of it on the stream."""
        kinds = self._cuda.cudaMemcpyKind
        source, logits = self._buffers[self._images.name], _logits(self._outputs)
        target = self._buffers[logits.name]
        size = _size_bytes(self._images, self._batch)
        copied = self._cuda.cudaMemcpyAsync(
            source.device, source.host_address, size, kinds.cudaMemcpyHostToDevice, self._stream
        )
        require_success(copied, "copying images to the GPU")
        if not self._open_context().execute_async_v3(int(self._stream)):
            raise RunnerError(f"TensorRT failed: {self._said()}")
        size = _size_bytes(logits, self._batch)
        copied = self._cuda.cudaMemcpyAsync(
            target.host_address, target.device, size, kinds.cudaMemcpyDeviceToHost, self._stream
        )
        require_success(copied, "copying logits from the GPU")

    def _open_context(self) -> TrtContext:
        if self._context is None:
            raise RunnerError("the engine is closed: open another runner")
        return self._context

    def _drop_graph(self) -> None:
        if self._graph is not None:
            self._cuda.cudaGraphExecDestroy(self._graph)
            self._graph = None

    def _release(self) -> None:
        """Let go of the library's objects in the one order that it allows."""
        self._drop_graph()
        self._context = None
        if self._kernels is not None:
            self._kernels.close()
        self._engine = None
        self._runtime = None
        self._logger = None

    def _said(self) -> str:
        return self._log.summary(has_driver=True)


def _logits(outputs: tuple[TensorSpecification, ...]) -> TensorSpecification:
    return next(output for output in outputs if output.name == LOGITS)


def _image_shape(specification: TensorSpecification) -> tuple[int, ...]:
    """All sides but the batch; only that one may be dynamic (`check_specification`)."""
    return tuple(side for side in specification.shape[1:] if isinstance(side, int))


def _size_bytes(specification: TensorSpecification, batch: int) -> int:
    return batch * prod(_image_shape(specification)) * np.dtype(specification.dtype).itemsize


def _host_view(buffer: Buffer, specification: TensorSpecification, batch: int) -> NDArray[Any]:
    """The pinned bytes of a batch as what they mean."""
    if buffer.host is None:
        raise RunnerError(f"{specification.name} is not copied to the host")
    content = buffer.host[: _size_bytes(specification, batch)]
    return content.view(specification.dtype).reshape(batch, *_image_shape(specification))

"""The test graph in TensorRT or TensorRT-RTX: built wherever that can be, and run where there is a GPU."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from levit_engines.catalogue import CATALOGUE
from levit_engines.doctor import sample
from levit_engines.doctor.probe import BINDINGS, BUILD, DEVICE, GRAPH, IMPORT, RUN


class TensorRtError(Exception):
    """TensorRT or CUDA refused a step, and says so by what it returns."""


def attempt(engine: str, at: Callable[[str], None]) -> object:
    """The network's numbers from the GPU."""
    at(IMPORT)
    tensorrt: Any = importlib.import_module(next(iter(CATALOGUE[engine].packages)))
    at(GRAPH)
    graph = sample.sample_graph()
    at(BUILD)
    logger = tensorrt.Logger(tensorrt.Logger.INTERNAL_ERROR)
    plan = _build(tensorrt, logger, graph)
    at(BINDINGS)
    runtime: Any = importlib.import_module("cuda.bindings.runtime")
    at(DEVICE)
    if _checked(runtime.cudaGetDeviceCount()) < 1:
        raise TensorRtError("CUDA sees no GPU")
    at(RUN)
    return _run(tensorrt, logger, plan, runtime)


def _build(tensorrt: Any, logger: Any, graph: bytes) -> Any:
    builder = tensorrt.Builder(logger)
    network = builder.create_network(1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse(graph):
        raise TensorRtError("; ".join(parser.get_error(index).desc() for index in range(parser.num_errors)))
    plan = builder.build_serialized_network(network, builder.create_builder_config())
    if plan is None:
        raise TensorRtError("the builder made no engine")
    return plan


def _run(tensorrt: Any, logger: Any, plan: Any, runtime: Any) -> object:
    engine = tensorrt.Runtime(logger).deserialize_cuda_engine(plan)
    if engine is None:
        raise TensorRtError("the engine that was built here cannot be loaded here")
    context = engine.create_execution_context()
    image = np.ascontiguousarray(sample.IMAGE)
    logits = np.full_like(sample.EXPECTED, np.nan)
    stream = _checked(runtime.cudaStreamCreate())
    memory = {name: _checked(runtime.cudaMalloc(array.nbytes)) for name, array in _tensors(image, logits)}
    to_device, to_host = runtime.cudaMemcpyKind.cudaMemcpyHostToDevice, runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
    _checked(runtime.cudaMemcpy(memory[sample.INPUT], image.ctypes.data, image.nbytes, to_device))
    for name, address in memory.items():
        context.set_tensor_address(name, int(address))
    if not context.execute_async_v3(int(stream)):
        raise TensorRtError("the engine refused to run")
    _checked(runtime.cudaStreamSynchronize(stream))
    _checked(runtime.cudaMemcpy(logits.ctypes.data, memory[sample.OUTPUT], logits.nbytes, to_host))
    return logits  # the process ends after this, and with it go its memory and its stream


def _tensors(image: Any, logits: Any) -> tuple[tuple[str, Any], ...]:
    return (sample.INPUT, image), (sample.OUTPUT, logits)


def _checked(answer: tuple[Any, ...]) -> Any:
    """What a call of CUDA's runtime returned beside its error, which must be none."""
    error, *values = answer
    if int(error) != 0:
        raise TensorRtError(f"CUDA says {error.name}")
    return values[0] if values else None

"""The test graph in TensorRT or TensorRT-RTX: built wherever that can be, and run where there is a GPU."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from levit_deploy.manifest import TensorSpecification
from levit_engines.doctor import sample
from levit_engines.doctor.probe import BINDINGS, BUILD, DEVICE, GRAPH, IMPORT, RUN
from levit_engines.tensorrt.devices import find_gpu, gpu_or_reason, load_cuda
from levit_engines.tensorrt.execution import Execution
from levit_engines.tensorrt.flavours import flavour_of, load_library
from levit_engines.tensorrt.order import BuildOrder
from levit_engines.tensorrt.planning import Planner

IMAGES = TensorSpecification(name=sample.INPUT, dtype="float32", layout="NCHW", shape=sample.IMAGE.shape)
LOGITS = TensorSpecification(name=sample.OUTPUT, dtype="float32", layout="NK", shape=sample.EXPECTED.shape)


def attempt(engine: str, at: Callable[[str], None]) -> object:
    """The network's numbers from the GPU."""
    at(IMPORT)
    flavour = flavour_of(engine)
    library = load_library(flavour)
    at(GRAPH)
    graph = sample.sample_graph()
    at(BUILD)
    order = BuildOrder(engine=engine, profile=None, compute_capabilities=(), workspace_mib=None, timing_cache=None)
    planner = Planner(library, flavour, *gpu_or_reason(flavour.extra))
    plan, _ = planner.build(graph, order, on_network=lambda _: None, on_progress=lambda *_: None)
    at(BINDINGS)
    cuda = load_cuda(flavour.extra)
    at(DEVICE)
    find_gpu(cuda)
    at(RUN)
    execution = Execution(library, cuda, images=IMAGES, outputs=(LOGITS,), maximum=1, graphs=False)
    with closing(execution):
        execution.load(plan, "the test graph's plan", f"levit-doctor --engine {engine}")
        return execution.run(sample.IMAGE)

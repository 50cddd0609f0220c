"""The test graph on OpenVINO's CPU plugin."""

from __future__ import annotations

from collections.abc import Callable

from levit_engines.doctor import sample
from levit_engines.doctor.probe import GRAPH, IMPORT, OPEN, RUN


def attempt(_engine: str, at: Callable[[str], None]) -> object:
    """The network's numbers from OpenVINO."""
    # Here, because the probes of other engines load this module too.
    from levit_engines.openvino.library import import_openvino

    at(IMPORT)
    openvino = import_openvino()
    at(GRAPH)
    graph = sample.sample_graph()
    at(OPEN)
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(graph, b""), "CPU", {"INFERENCE_NUM_THREADS": 1})
    at(RUN)
    return compiled({sample.INPUT: sample.IMAGE})[0]

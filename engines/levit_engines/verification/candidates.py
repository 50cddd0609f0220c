"""What a bundle holds, as candidates of the ladder: its graph as it is written, and its engines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from levit_deploy.bundle import MODEL, Bundle
from levit_deploy.errors import BundleError
from levit_deploy.module_truth import ProbeValues
from levit_deploy.probes import probes_of
from levit_deploy.runner import Runner
from levit_engines import open_runner
from levit_export.graph_candidate import GraphCandidate


def graph_of(bundle: Bundle) -> onnx.ModelProto:
    """The bundle's graph, its hash checked. Raises BundleError when it is not one."""
    try:
        return onnx.load_model_from_string(bundle.read(MODEL))
    except Exception as error:  # protobuf's DecodeError, of a package without types
        raise BundleError(f"{bundle.path / MODEL}: not an ONNX file ({error}); export the bundle again") from error


def graph_stage(bundle: Bundle) -> str:
    """The name of the ladder's stage that the bundle's graph is."""
    return "simplified" if bundle.manifest.graph.get("simplified") else "traced"


def graph_as_written(bundle: Bundle) -> GraphCandidate:
    """The graph run node by node, so that what an engine makes of it is a step of its own."""
    return GraphCandidate(graph_stage(bundle), graph_of(bundle), probes_of(bundle.manifest.config), optimized=False)


class EngineCandidate:
    """An engine as users get it. Its values inside are read from a second session on the same graph."""

    def __init__(self, engine: str, runner: Runner, bundle: Bundle) -> None:
        self.stage = engine
        self.runner = runner
        self._bundle = bundle

    @property
    def takes_pixels(self) -> bool:
        """Whether the graph normalises RGB pixels by itself."""
        return self.runner.input.dtype == "uint8"

    def infer(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Logits (n, K)."""
        return self.runner.infer(images)

    def probe(self, images: NDArray[Any]) -> ProbeValues:
        """Every probe whose value has a name in the graph."""
        return self._probed.probe(images)

    @cached_property
    def _probed(self) -> GraphCandidate:
        probes = probes_of(self._bundle.manifest.config)
        return GraphCandidate(self.stage, graph_of(self._bundle), probes, optimized=True)


@contextmanager
def open_engine(engine: str, bundle: Bundle, threads: int | None) -> Iterator[EngineCandidate]:
    """The engine, loaded; freed afterwards. Raises what `levit_engines.open_runner` does."""
    with open_runner(bundle, engine=engine, threads=threads) as runner:
        yield EngineCandidate(engine, runner, bundle)

"""What a bundle holds, as candidates of the ladder: its graph as it is written, and its engines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from levit_deploy.module_truth import ProbeValues
from levit_deploy.probes import probes_of
from levit_engines import open_runner
from levit_engines.bundle_runner import BundleRunner
from levit_engines.verification.contents import Contents
from levit_export.graph_candidate import probed


class EngineCandidate:
    """An engine as users get it. Its values inside are read from the same graph with more outputs."""

    def __init__(self, engine: str, runner: BundleRunner, contents: Contents) -> None:
        self.stage = engine
        self.runner = runner
        self._contents = contents

    @property
    def takes_pixels(self) -> bool:
        """Whether the graph normalises RGB pixels by itself."""
        return self.runner.input.dtype == "uint8"

    def infer(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Logits (n, K)."""
        return self.runner.infer(images)

    def probe(self, images: NDArray[Any]) -> ProbeValues:
        """Every probe whose value has a name in the graph. Raises RunnerError when the engine lets none be read."""
        probes = probes_of(self._contents.bundle.manifest.config)
        return probed(
            self._contents.graph,
            probes,
            images,
            lambda graph, names: self.runner.read_values(graph.SerializeToString(), names, images),
        )


@contextmanager
def open_engine(engine: str, contents: Contents, threads: int | None) -> Iterator[EngineCandidate]:
    """The engine, loaded; freed afterwards. Raises what `levit_engines.open_runner` does."""
    with open_runner(contents.bundle, engine=engine, threads=threads) as runner:
        yield EngineCandidate(engine, runner, contents)

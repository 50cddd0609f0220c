"""A Runner on a network that OpenVINO has compiled."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from levit_deploy.bundle import Bundle
from levit_deploy.errors import RunnerError
from levit_deploy.messages import short_message
from levit_deploy.runner import LOGITS
from levit_engines.bundle_runner import BundleRunner
from levit_engines.openvino.compiling import compile_graph
from levit_engines.openvino.library import import_openvino


class OpenVinoRunner(BundleRunner):
    """One inference request of a compiled network.

    Safe to call from several threads: they take turns. A request for each of them was measured to be no faster, since
    the network has one stream that uses all its threads. Images are copied into the request's own memory and logits out
    of it.
    """

    def __init__(
        self,
        bundle: Bundle,
        compiled: Any,
        *,
        engine: str,
        threads: int | None,
        provenance: Mapping[str, str],
        notes: tuple[str, ...],
    ) -> None:
        super().__init__(bundle, engine=engine, provenance=provenance, notes=notes)
        self._threads = threads
        self._turn = threading.Lock()
        self._request: Any = compiled.create_infer_request()

    def _run(self, images: NDArray[Any]) -> NDArray[np.float32]:
        request = self._request  # kept alive until the call ends, should another thread close the runner
        if request is None:
            self._require_open()
        with self._turn:
            (logits,) = _results(request, [LOGITS], images)
        return logits

    def read_values(self, graph: bytes, names: Sequence[str], images: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        """See `BundleRunner.read_values`; reading values keeps some operations from being fused."""
        name = "the graph with its values as outputs"
        request = compile_graph(import_openvino(), graph, self._threads, name=name).create_infer_request()
        return dict(zip(names, _results(request, names, images), strict=True))

    def _free(self) -> None:
        self._request = None


def _results(request: Any, names: Sequence[str], images: NDArray[Any]) -> list[NDArray[Any]]:
    """Copies of the outputs `names`. Raises RunnerError when OpenVINO fails."""
    try:
        tensor = request.get_input_tensor()
        tensor.shape = images.shape
        tensor.data[...] = images
        request.infer(share_outputs=True)
        return [request.get_tensor(name).data.copy() for name in names]
    except Exception as error:  # OpenVINO raises RuntimeError, but also what its Python layer meets
        raise RunnerError(f"OpenVINO failed: {short_message(error)}") from error

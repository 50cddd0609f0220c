"""A Runner on the native kernels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from levit_deploy.bundle import Bundle
from levit_engines.bundle_runner import BundleRunner
from levit_engines.native.library import Network


class NativeRunner(BundleRunner):
    """A network in the library. Calls from several threads run at the same time if it has one thread, else in turns."""

    _refuses_not_finite = True

    def __init__(
        self,
        bundle: Bundle,
        network: Network,
        *,
        engine: str,
        provenance: Mapping[str, str],
        normalized: NDArray[np.float32] | None,
    ) -> None:
        """`normalized` (3, 256), what bytes become, where the bundle takes pixels; else None."""
        super().__init__(bundle, engine=engine, provenance=provenance, notes=())
        self._network: Any = network
        self._normalized = normalized

    def _run(self, images: NDArray[Any]) -> NDArray[np.float32]:
        network = self._network  # kept alive until the call ends, should another thread close the runner
        if network is None:
            self._require_open()
        contiguous = np.ascontiguousarray(images)
        logits: NDArray[np.float32] = (
            network.run(contiguous) if self._normalized is None else network.run_pixels(contiguous, self._normalized)
        )
        return logits

    def _free(self) -> None:
        self._network = None

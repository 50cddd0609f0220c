"""A Runner on a PyTorch network, eager or compiled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from levit_deploy.bundle import Bundle
from levit_deploy.errors import RunnerError
from levit_deploy.messages import short_message
from levit_engines.bundle_runner import BundleRunner

if TYPE_CHECKING:
    from torch import Tensor


class TorchRunner(BundleRunner):
    """A network in inference mode, in float32 whatever autocast says around the call.

    Safe to call from several threads. PyTorch has one number of threads for the whole process: every call sets it to
    the runner's, so runners with different numbers that work at the same time disturb each other's speed, though not
    their logits. Closing sets it back to what opening found; close several runners in the reverse order.
    """

    def __init__(
        self, bundle: Bundle, network: Any, *, engine: str, threads: ProcessThreads, provenance: Mapping[str, str]
    ) -> None:
        super().__init__(bundle, engine=engine, provenance=provenance, notes=())
        self._threads = threads
        self._network = network

    def _run(self, images: NDArray[Any]) -> NDArray[np.float32]:
        import torch

        network = self._network  # kept alive until the call ends, should another thread close the runner
        if network is None:
            self._require_open()
        # Arrays that are read-only cannot be wrapped.
        pixels = torch.from_numpy(images if images.flags.writeable else images.copy())
        self._threads.take()
        try:
            logits: NDArray[np.float32] = call(network, pixels).numpy().copy()
        except Exception as error:  # compiled programs raise whatever they meet
            raise RunnerError(f"PyTorch failed: {short_message(error)}") from error
        return logits

    def _free(self) -> None:
        self._network = None
        self._threads.give_back()


class ProcessThreads:
    """PyTorch's number of threads, taken for a while; new threads of the process start with the number set last."""

    def __init__(self, count: int) -> None:
        import torch

        self._before = torch.get_num_threads()
        self.count = count

    def take(self) -> None:
        """Set it for the calling thread, where it is not set already."""
        import torch

        if torch.get_num_threads() != self.count:
            torch.set_num_threads(self.count)

    def give_back(self) -> None:
        """Set it to what it was, unless somebody else has changed it since."""
        import torch

        if torch.get_num_threads() == self.count:
            torch.set_num_threads(self._before)


def call(network: Any, images: Tensor) -> Tensor:
    """`network(images)` as every call is made: compiled programs are bound to these modes."""
    import torch

    with torch.inference_mode(), torch.autocast("cpu", enabled=False):
        logits: Tensor = network(images)
        return logits

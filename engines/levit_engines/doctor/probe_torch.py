"""The test network in PyTorch on the CPU, as it is or compiled."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from levit_engines.doctor import sample
from levit_engines.doctor.probe import COMPILE, IMPORT, RUN


def attempt(engine: str, at: Callable[[str], None]) -> object:
    """The network's numbers from PyTorch."""
    at(IMPORT)
    torch: Any = importlib.import_module("torch")
    torch.set_num_threads(1)
    image, kernel, weights = (torch.from_numpy(value) for value in (sample.IMAGE, sample.KERNEL, sample.WEIGHTS))

    def network(pixels: Any) -> Any:
        return torch.conv2d(pixels, kernel).relu().flatten(1) @ weights

    with torch.inference_mode():
        if engine == "torch-compile":
            at(COMPILE)
            # Whole, or an error: what cannot be compiled would quietly run as it is.
            return torch.compile(network, fullgraph=True)(image).numpy()
        at(RUN)
        return network(image).numpy()

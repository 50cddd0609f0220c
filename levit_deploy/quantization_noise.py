"""How far integers alone may move the logits: noise as large as the steps that values are rounded to.

A quantised layer rounds its input to a multiple of `step`, which is off by at most half of it, clips it to what its
integers reach, and has each row of weights rounded to multiples of a step of that row. Errors that are evenly spread
over half a step to both sides are drawn at random and put there while the float64 network runs, those of the
weights once a run, as a weight is the same for every position and image. What comes of them at the logits is the
deviation that `rounding.logit_bounds` makes a bound of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from levit_deploy.arithmetic import FP32
from levit_deploy.rounding import RoundingNoise


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizedLayer:
    """A linear layer on integers: what its values are rounded to.

    Its input in steps of `step` from `low` to `high`, row j of its weights in steps of `weight_steps[j]`.
    """

    step: float
    low: float
    high: float
    weight_steps: tuple[float, ...]


class QuantizationNoise:
    """Disturbs the layers at these paths as their rounding to integers would; all else computes exactly."""

    deviation = FP32.deviation

    def __init__(self, layers: Mapping[str, QuantizedLayer], generator: np.random.Generator) -> None:
        self._layers = dict(layers)
        self._generator = generator
        self._rounding = RoundingNoise(FP32, generator)

    def disturb_input(self, images: Tensor, subtracted: Tensor) -> Tensor:
        """As float32 rounds it: no layer that sees images is quantised."""
        return self._rounding.disturb_input(images, subtracted)

    @contextmanager
    def over(self, model: nn.Module) -> Iterator[None]:
        """While active, `model`, a fused network, is disturbed."""
        with ExitStack() as stack:
            for path, layer in self._layers.items():
                module = model.get_submodule(path)
                assert isinstance(module, nn.Linear)
                error = self._half_steps(module.weight.shape) * torch.tensor(layer.weight_steps)[:, None]
                stack.callback(module.register_forward_pre_hook(self._rounded(layer)).remove)
                stack.callback(module.register_forward_hook(_with_weights_off_by(error.to(module.weight))).remove)
            yield

    def _rounded(self, layer: QuantizedLayer) -> Any:
        def hook(_: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            x = arguments[0].clamp(layer.low, layer.high)
            return (x + layer.step * self._half_steps(x.shape).to(x),)

        return hook

    def _half_steps(self, shape: torch.Size) -> Tensor:
        """Independent values, evenly spread from -1/2 to 1/2."""
        return torch.from_numpy(self._generator.random(size=tuple(shape), dtype=np.float32)).sub_(0.5)


def _with_weights_off_by(error: Tensor) -> Any:
    def hook(_: nn.Module, arguments: tuple[Tensor, ...], result: Tensor) -> Tensor:
        return result + F.linear(arguments[0], error)

    return hook

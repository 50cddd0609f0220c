"""Which layers integers cost the most, and the fewest that have to stay floating-point for a budget to be met.

The share of a layer is the error of the logits when it alone is quantised: rounded to the same steps, in PyTorch.
Errors of several layers are independent, so that their powers add up, and leaving out the layers with the largest
shares is the shortest way to any budget. How many is found by bisection, on the quantised graph itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from levit_deploy.errors import ParityError
from levit_deploy.model import Levit
from levit_deploy.parity import Comparison, compare_logits, finite_or_text
from levit_deploy.quantization_noise import QuantizedLayer
from levit_export.precision.integers import Quantization, Quantizer

IMAGES = 32
"""To measure shares on, at equal distances from all."""

OnProgress = Callable[[str, int, int], None]
"""Told what is done, how much of it, and of how much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What may be lost on the calibration images: a ratio of signal to error, a share of flipped best classes."""

    min_sqnr_db: float | None = None
    max_flips: float | None = None

    @property
    def asks(self) -> bool:
        """Whether there is any limit."""
        return self.min_sqnr_db is not None or self.max_flips is not None

    def is_met(self, comparison: Comparison) -> bool:
        """Whether quantised logits, compared with those of the graph before, are good enough."""
        flips = len(comparison.flips) / len(comparison.max_abs_errors)
        return (self.min_sqnr_db is None or comparison.sqnr_db >= self.min_sqnr_db) and (
            self.max_flips is None or flips <= self.max_flips
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """The quantised graph, what its logits lost, the layers kept from integers, and each layer's share in decibel."""

    quantization: Quantization
    comparison: Comparison
    kept: tuple[str, ...]
    shares_db: Mapping[str, float]

    def sentence(self) -> str:
        """For a person."""
        kept = f", {len(self.kept)} kept as they were" if self.kept else ""
        images, flips = len(self.comparison.max_abs_errors), len(self.comparison.flips)
        return (
            f"{len(self.quantization.layers)} layers{kept}; {self.comparison.sqnr_db:.1f} dB and {flips} flips on "
            f"{images} calibration images"
        )

    def to_json(self) -> dict[str, Any]:
        """What the manifest says of it."""
        return {
            "layers": len(self.quantization.layers),
            "kept_layers": list(self.kept),
            "sqnr_db": finite_or_text(self.comparison.sqnr_db),
            "flips": len(self.comparison.flips),
            "images": len(self.comparison.max_abs_errors),
            "sqnr_db_of_each_layer_alone": {path: finite_or_text(share) for path, share in self.shares_db.items()},
        }


def search(
    quantizer: Quantizer,
    fused: Levit,
    images: NDArray[np.float32],
    budget: Budget,
    logits_of: Callable[[Quantization | None], NDArray[np.float32]],
    on_progress: OnProgress = lambda *_: None,
) -> Search:
    """Quantise as much as `budget` allows; `logits_of` runs a graph, or the one before, on the calibration images.

    `images` (n, 3, S, S) are those, normalised. Raises ParityError when no layer could be quantised within the budget.
    """
    reference = logits_of(None)

    def attempt(kept: Sequence[str]) -> Search:
        quantization = quantizer.quantize(kept)
        comparison = compare_logits(reference, logits_of(quantization))
        return Search(quantization=quantization, comparison=comparison, kept=tuple(kept), shares_db=shares)

    shares: Mapping[str, float] = {}
    everything = attempt(())
    if not budget.asks or budget.is_met(everything.comparison):
        return everything
    places = np.unique(np.linspace(0, len(images) - 1, min(IMAGES, len(images))).round().astype(int))
    shares = layer_shares(fused, everything.quantization.layers, images[places], on_progress)
    order = sorted(shares, key=lambda path: shares[path])
    misses, found = 0, None
    meets = len(order)
    attempts, most = 0, (len(order) - 1).bit_length()
    while meets - misses > 1:
        on_progress("looking for the fewest layers to keep", attempts, most)
        attempts, middle = attempts + 1, (misses + meets) // 2
        attempted = attempt(order[:middle])
        if budget.is_met(attempted.comparison):
            meets, found = middle, attempted
        else:
            misses = middle
    if found is None:
        raise ParityError(
            f"int8: no layer but {order[-1]} could be quantised within the budget: allow more, or export fp16"
        )
    return found


@torch.no_grad()
def layer_shares(
    fused: Levit,
    layers: Mapping[str, QuantizedLayer],
    images: NDArray[np.float32],
    on_progress: OnProgress = lambda *_: None,
) -> dict[str, float]:
    """The ratio of signal to error of the logits, in decibel, when one layer alone is quantised; by path."""
    inputs = torch.from_numpy(images)
    reference = fused(inputs).numpy()
    shares = {}
    for number, (path, layer) in enumerate(layers.items()):
        on_progress("measuring what each layer costs", number, len(layers))
        module = fused.get_submodule(path)
        assert isinstance(module, nn.Linear)
        hook = module.register_forward_hook(_quantized(layer))
        try:
            shares[path] = compare_logits(reference, fused(inputs).numpy()).sqnr_db
        finally:
            hook.remove()
    return shares


def _quantized(layer: QuantizedLayer) -> Any:
    steps = torch.tensor(layer.weight_steps)[:, None]

    def hook(module: nn.Linear, arguments: tuple[Tensor, ...], _: Tensor) -> Tensor:
        # From the lowest value on, which is a whole number of steps from 0.
        rounded = arguments[0].clamp(layer.low, layer.high).sub(layer.low).div(layer.step).round()
        weights = (module.weight / steps).round() * steps
        return nn.functional.linear(rounded * layer.step + layer.low, weights, module.bias)

    return hook

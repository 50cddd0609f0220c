"""The truth: the eager model in float64, its logits, its inside, and how far rounding may move both.

The eager network in other dtypes is a `Candidate` of the ladder too, and lives here.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from levit_deploy.arithmetic import FP32, Arithmetic
from levit_deploy.bundle import Golden
from levit_deploy.errors import ParityError
from levit_deploy.fusion import fuse
from levit_deploy.ladder import Truth
from levit_deploy.model import Levit
from levit_deploy.module_truth import ModuleTruth, ProbeValues
from levit_deploy.preprocessing import Preprocessing, normalize
from levit_deploy.probes import probes_of
from levit_deploy.quantization_noise import QuantizationNoise, QuantizedLayer
from levit_deploy.recording import record
from levit_deploy.rounding import FAILURE_PROBABILITY, SAFETY, Noise, logit_bounds, rounding_noise


@dataclass(frozen=True, slots=True)
class _Disturbance:
    """A float64 network, and fresh noise for it that is the same each time. Several are independent of one another."""

    model: Levit
    noise: Callable[[], Noise]


class EagerReference:
    """The inside of the float64 network, computed for the images that are asked about, and then remembered."""

    def __init__(
        self,
        disturbances: Sequence[_Disturbance],
        images: Tensor,
        bounds: NDArray[np.float64],
        offsets: Tensor,
    ) -> None:
        self._disturbances = disturbances
        self._images = images
        self._logit_bounds = bounds
        self._offsets = offsets
        self._known: dict[tuple[int, ...], ModuleTruth] = {}

    def about(self, images: Sequence[int]) -> ModuleTruth:
        """The values of all probes for these images, and their bounds."""
        wanted = tuple(images)
        if wanted not in self._known:
            self._known[wanted] = self._computed(wanted)
        return self._known[wanted]

    def _computed(self, images: tuple[int, ...]) -> ModuleTruth:
        """The values and bounds.

        The bound of a value is the largest |error| of its samples in one disturbed run, times the factor that the
        bound of the logits has over the largest of as many Gaussian errors.
        """
        inputs = self._images[list(images)]
        squares: dict[str, NDArray[np.float64]] = {}
        for disturbance in self._disturbances:
            model, noise = disturbance.model, disturbance.noise()
            values = record(model, inputs)
            disturbed = record(model, noise.disturb_input(inputs, self._offsets), noise=noise)
            for name, samples in values.items():
                bound = _tail_over_largest(samples.shape[1]) * np.abs(disturbed[name] - samples).max(axis=1)
                squares[name] = squares.get(name, 0.0) + bound**2
        probes = probes_of(model.config)
        bounds = {name: np.sqrt(square) for name, square in squares.items()}
        bounds[probes[-1].name] = self._logit_bounds[list(images)]
        return ModuleTruth(images=images, probes=probes, values=values, bounds=bounds)


def _tail_over_largest(samples: int) -> float:
    """SAFETY times the Gaussian tail at the failure probability, over the expected largest of `samples` errors."""
    tail = math.sqrt(2 * math.log(2 * samples / FAILURE_PROBABILITY))
    return SAFETY * tail / max(1.0, math.sqrt(2 * math.log(samples)))


def truth_of(
    model: Levit,
    names: Sequence[str],
    pixels: NDArray[np.uint8],
    contract: Preprocessing,
    *,
    arithmetic: Arithmetic = FP32,
    layers: Mapping[str, QuantizedLayer] | None = None,
) -> Truth:
    """Run `pixels`, RGB (n, S, S, 3), through `model` in float64 and derive the bounds of rungs of that arithmetic.

    With `layers`, by path in the fused network, of rungs whose layers there are quantised.

    Raises ParityError when the network gives no finite logits, or none that rounding leaves meaningful.
    """
    reference = copy.deepcopy(model).double().eval()
    images = torch.from_numpy(normalize(pixels, contract)).double()
    with torch.no_grad():
        logits = reference(images)
    offsets = (torch.tensor(contract.mean).double() / torch.tensor(contract.std).double()).reshape(3, 1, 1)
    disturbances = _disturbances(reference, arithmetic, layers or {})
    each = [logit_bounds(one.model, images, logits, subtracted=offsets, noise=one.noise()) for one in disturbances]
    bounds = np.sqrt(np.square(each).sum(axis=0))
    golden = Golden(names=tuple(names), images=pixels, logits=logits.numpy())
    if not (np.isfinite(golden.logits).all() and np.isfinite(bounds).all()):
        raise ParityError("the network gives logits that are not finite in float64: its weights are unusable")
    modules = EagerReference(disturbances, images, bounds, offsets)
    return Truth(golden=golden, bounds=bounds, contract=contract, modules=modules)


def _disturbances(
    reference: Levit, arithmetic: Arithmetic, layers: Mapping[str, QuantizedLayer]
) -> Sequence[_Disturbance]:
    rounding = _Disturbance(reference, lambda: rounding_noise(arithmetic))
    if not layers:
        return (rounding,)
    # The layers that integers replace are those of the fused network.
    generator = np.random.Generator
    return rounding, _Disturbance(fuse(reference), lambda: QuantizationNoise(layers, generator(np.random.SFC64(0))))


@dataclass(frozen=True, slots=True, kw_only=True)
class EagerCandidate:
    """A PyTorch network, fused or not, on the ladder; takes normalised images."""

    stage: str
    model: Levit
    takes_pixels: bool = False

    def infer(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Logits (n, K)."""
        with torch.no_grad():
            logits: NDArray[np.float32] = self.model(torch.from_numpy(images)).numpy()
        return logits

    def probe(self, images: NDArray[Any]) -> ProbeValues:
        """Every probe, by name."""
        return record(self.model, torch.from_numpy(images))

"""How far rounding alone may move the logits: the bound that every floating-point rung is held to.

Each operation is given a local rounding error, as a standard deviation for every element, from the deviation u of
one rounding (`arithmetic`), the length n of its accumulation and the magnitudes that really flow:

    y = W x + b, W ∗ x, a b    u · (max(1, r · sqrt(n + 1)) · ‖terms of the sum‖₂ + |y|)
    batch normalisation        u · (|g/σ| (|x| + |μ|) + 2 |y|)
    softmax                    u · p · (r · (|z - max z| + sqrt(n)) + 2)
    hard-swish                 u · (|x| / 2 + 2 |y|)
    mean of n                  u · (r · ‖terms‖₂ / sqrt(n) + |y|)
    sum, product, quotient     u · |y|

r is the deviation within a sum over u, 1 in float32. In half precision, where it is next to nothing, what
remains of a sum is that each of its weights was rounded once, and its result.

The sum of n terms rounds n times, each time by at most u of a partial sum; partial sums are at most
sqrt(n) ‖terms‖₂ (Cauchy and Schwarz), and independent roundings add in quadrature. These errors are drawn at
random and added while the float64 model runs, so that the network itself propagates them: no product of norms,
which would allow errors millions of times larger than any that occur. With r_j the norm of the head's row of logit
y_j and s the typical |error| / r over all logits of an image, the bound of the image is

    SAFETY · sqrt(2 ln(2 K / FAILURE_PROBABILITY)) · max over j of hypot(r_j s, u y_j)      for K classes,

the Gaussian tail over all logits, times a factor for what independence leaves out (roundings that agree in sign).
Source: Higham and Mary, "A New Approach to Probabilistic Rounding Error Analysis", SIAM J. Sci. Comput. 41(5), 2019,
for the sqrt(n); docs/design/derived-bounds.md for the measured ratios of error to bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from levit_deploy.arithmetic import FP32, Arithmetic
from levit_deploy.fusion import fold_heads
from levit_deploy.model import Levit, NormLinear

SAFETY = 2.0
FAILURE_PROBABILITY = 1e-9
LOGITS_WANTED = 20
GAUSSIAN_DEVIATIONS_PER_MEDIAN = 1.4826

LocalError = Callable[..., Tensor]


def _sum_error(terms: int, squares: Tensor, y: Tensor, ratio: float) -> Tensor:
    return max(1.0, ratio * math.sqrt(terms + 1)) * squares.sqrt() + y.abs()


def _linear_error(ratio: float, y: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    squares = F.linear(x.square(), weight.square(), None if bias is None else bias.square())
    return _sum_error(weight.shape[1], squares, y, ratio)


def _convolution_error(
    ratio: float, y: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None = None, *geometry: Any
) -> Tensor:
    squares = F.conv2d(x.square(), weight.square(), None if bias is None else bias.square(), *geometry)
    return _sum_error(weight[0].numel(), squares, y, ratio)


def _matmul_error(ratio: float, y: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return _sum_error(a.shape[-1], a.square() @ b.square(), y, ratio)


def _norm_error(
    _: float, y: Tensor, x: Tensor, mean: Tensor, variance: Tensor, *, weight: Tensor, eps: float, **__: Any
) -> Tensor:
    per_channel = (1, -1, *(1,) * (x.ndim - 2))
    slope = (weight / (variance + eps).sqrt()).abs().reshape(per_channel)
    return slope * (x.abs() + mean.abs().reshape(per_channel)) + 2 * y.abs()


def _softmax_error(ratio: float, y: Tensor, z: Tensor, *, dim: int) -> Tensor:
    below_max = z.amax(dim, keepdim=True) - z
    return y * (ratio * (below_max + math.sqrt(z.shape[dim])) + 2)


def _hardswish_error(_: float, y: Tensor, x: Tensor, **__: Any) -> Tensor:
    return x.abs() * (x.abs() < 3) / 2 + 2 * y.abs()


def _mean_error(ratio: float, y: Tensor, x: Tensor, *, dim: int) -> Tensor:
    return ratio * x.square().sum(dim).sqrt() / math.sqrt(x.shape[dim]) + y.abs()


def _elementwise_error(_: float, y: Tensor, *__: Any, **___: Any) -> Tensor:
    return y.abs()


# In units of u. An operation that is in neither table stops the prediction: nothing is taken for exact unsaid.
LOCAL_ERRORS: Mapping[str, LocalError] = MappingProxyType(
    {
        "linear": _linear_error,
        "conv2d": _convolution_error,
        "matmul": _matmul_error,
        "batch_norm": _norm_error,
        "softmax": _softmax_error,
        "hardswish": _hardswish_error,
        "mean": _mean_error,
        "add": _elementwise_error,
        "mul": _elementwise_error,
        "div": _elementwise_error,
    }
)
EXACT_OPERATIONS = frozenset(
    {"dim", "flatten", "transpose", "reshape_as", "unflatten", "split", "__getitem__", "__get__"}
)


class Noise(Protocol):
    """Errors that are drawn at random, put where an inexact network makes its own."""

    deviation: float
    """That of what rounds the logits themselves, as a share of them."""

    def disturb_input(self, images: Tensor, subtracted: Tensor) -> Tensor:
        """`images` (n, 3, S, S) as rounding leaves them; `subtracted` (3, 1, 1) is what normalising takes away."""

    def over(self, model: nn.Module) -> AbstractContextManager[Any]:
        """While active, `model` is disturbed."""


class RoundingNoise(TorchFunctionMode):
    """While active, every operation returns its result plus a random error of the size rounding would have."""

    def __init__(self, arithmetic: Arithmetic, generator: np.random.Generator) -> None:
        super().__init__()
        self.deviation = arithmetic.deviation
        self._ratio = arithmetic.accumulation / arithmetic.deviation
        self._generator = generator

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = func.__name__
        if name in EXACT_OPERATIONS:
            return result
        if name not in LOCAL_ERRORS:
            raise ValueError(f"no rounding error is known for the operation {name!r}")
        # Magnitudes need no more than float32, which halves the cost.
        deviation = LOCAL_ERRORS[name](self._ratio, _single(result), *map(_single, args), **_single(kwargs))
        return result.add_(deviation.mul_(self.noise(result.shape)), alpha=self.deviation)

    def over(self, _: nn.Module) -> RoundingNoise:
        """See `Noise`; whatever runs is disturbed."""
        return self

    def noise(self, shape: torch.Size) -> Tensor:
        """Independent float32 values of mean 0 and variance 1, uniform on 256 levels.

        One byte a value, as it is several times cheaper than a uniform or normal float and adds up as well.
        """
        levels = self._generator.integers(0, 256, size=tuple(shape), dtype=np.uint8)
        return torch.from_numpy(levels).float().sub_(127.5).mul_(math.sqrt(12 / (256**2 - 1)))

    def disturb_input(self, images: Tensor, subtracted: Tensor) -> Tensor:
        """`images` (n, 3, S, S) as rounding leaves them; `subtracted` (3, 1, 1) is what normalising takes away."""
        deviation = 2 * self.deviation * (images.abs() + subtracted.abs())
        return images + deviation * self.noise(images.shape)


def rounding_noise(arithmetic: Arithmetic, seed: int = 0) -> RoundingNoise:
    """The noise of `arithmetic`, the same on every machine."""
    return RoundingNoise(arithmetic, np.random.Generator(np.random.SFC64(seed)))


def _single(value: Any) -> Any:
    """`value` with every float64 tensor in it as float32."""
    if isinstance(value, Tensor):
        return value.float() if value.dtype == torch.float64 else value
    if isinstance(value, dict):
        return {name: _single(item) for name, item in value.items()}
    return value


@torch.no_grad()
def logit_bounds(
    model: Levit,
    images: Tensor,
    logits: Tensor,
    *,
    subtracted: Tensor | None = None,
    noise: Noise | None = None,
) -> NDArray[np.float64]:
    """The largest |logit error| that `noise`, else the rounding of float32, explains: one for each image, float64 (n,).

    `model` is the float64 reference in evaluation, `images` its float64 input (n, 3, S, S) and `logits` its
    output (n, K). `subtracted` is mean / std of the channels, (3, 1, 1): what normalising a pixel takes away, and
    what its rounding therefore grows with.
    """
    noise = noise or rounding_noise(FP32)
    offsets = images.new_zeros(3, 1, 1) if subtracted is None else subtracted
    # One logit of one draw says little of its deviation: a network with few classes is run more often.
    draws = 1 + math.ceil(LOGITS_WANTED / logits.shape[1])
    errors = []
    for _ in range(draws):
        noisy = noise.disturb_input(images, offsets)
        with noise.over(model):
            disturbed = model(noisy)
        errors.append(disturbed - logits)
    reach = _head_rows(model)
    typical = _typical_ratio(torch.stack(errors, dim=1).abs(), reach)  # (n,)
    deviations = torch.hypot(typical[:, None] * reach, noise.deviation * logits.abs())  # (n, K)
    tail = math.sqrt(2 * math.log(2 * logits.shape[1] / FAILURE_PROBABILITY))
    bounds: NDArray[np.float64] = (SAFETY * tail * deviations.amax(dim=1)).numpy()
    return bounds


def _head_rows(model: Levit) -> Tensor:
    """How strongly each logit answers to the features: the norms of the rows of the (folded) head, (K,)."""
    heads = [head for head in (model.head, model.distillation_head) if isinstance(head, NormLinear)]
    linear = fold_heads(heads) if heads else model.head
    assert isinstance(linear, nn.Linear)
    return linear.weight.square().sum(dim=1).sqrt()


def _typical_ratio(errors: Tensor, reach: Tensor) -> Tensor:
    """Deviation of |error| / reach for each image, from errors (n, draws, K): float64 (n,).

    From the median, so that one logit with a huge bias does not speak for all; a NaN anywhere gives NaN.
    """
    answering = reach > 0
    if not answering.any():
        return torch.zeros(len(errors), dtype=errors.dtype)
    ratios = (errors[..., answering] / reach[answering]).flatten(1)
    return GAUSSIAN_DEVIATIONS_PER_MEDIAN * ratios.median(dim=1).values

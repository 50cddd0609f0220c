"""Folding is computed in float64 and cast once; folded layers pass through; the device stays."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from levit_deploy.fusion import fold_convolution, fold_heads, fold_linear, fuse
from levit_deploy.model import ConvNorm, LinearNorm, NormLinear, create_model, remove_norm


def cancelling(layer: ConvNorm | LinearNorm | NormLinear) -> None:
    """Statistics whose shift and mean nearly cancel, so that folding in float32 loses most digits."""
    norm = layer.norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        norm.running_mean.uniform_(900, 1000, generator=generator)
        norm.running_var.uniform_(0.3, 3, generator=generator)
        norm.weight.uniform_(0.5, 1.5, generator=generator)
        norm.bias.copy_(norm.weight / (norm.running_var + norm.eps).sqrt() * norm.running_mean)


def exact_folding(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[list[Fraction], list[Fraction]]:
    """Gain and shift of a normalisation as fractions; the root has more than 100 bits."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gains, shifts = [], []
    columns = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    for g, b, m, v in zip(*(map(Fraction, column.tolist()) for column in columns), strict=True):
        variance = (v + Fraction(norm.eps)) * 4**120
        root = Fraction(math.isqrt(variance.numerator // variance.denominator), 2**120)
        gains.append(g / root)
        shifts.append(b - m * g / root)
    return gains, shifts


def ulps(actual: Tensor, exact: list[Fraction]) -> np.ndarray:
    """Distance from the exact values in units of the last place of float32."""
    spacing = np.spacing(np.abs(np.array([float(value) for value in exact], dtype=np.float32)))
    errors = [float(abs(Fraction(a) - e)) for a, e in zip(actual.double().tolist(), exact, strict=True)]
    return np.array(errors) / spacing


@pytest.mark.parametrize("kind", [ConvNorm, LinearNorm], ids=["ConvNorm", "LinearNorm"])
def test_folding_behind_a_linear_layer_rounds_once(kind: type[ConvNorm | LinearNorm]) -> None:
    torch.manual_seed(0)
    layer = kind(3, 8).eval()
    cancelling(layer)
    gains, shifts = exact_folding(layer.norm)
    with torch.no_grad():
        folded = fold_convolution(layer) if isinstance(layer, ConvNorm) else fold_linear(layer)
    weight = layer.linear.weight.flatten(1).tolist()
    rows = [Fraction(w) * gain for row, gain in zip(weight, gains, strict=True) for w in row]
    assert folded.bias is not None
    assert ulps(folded.bias, shifts).max() < 1  # half for the cast, the rest is float64 and the cancellation
    assert ulps(folded.weight.flatten(), rows).max() < 0.5001
    norm = layer.norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    in_float32 = norm.bias - norm.running_mean * norm.weight / (norm.running_var + norm.eps).sqrt()
    assert ulps(in_float32.detach(), shifts).max() > 100  # negative control


def test_folding_heads_rounds_once() -> None:
    torch.manual_seed(0)
    heads = [NormLinear(6, 4).eval() for _ in range(2)]
    exact = [Fraction(0)] * 4
    for head in heads:
        cancelling(head)
        _, shifts = exact_folding(head.norm)
        for k, (row, bias) in enumerate(zip(head.linear.weight.tolist(), head.linear.bias.tolist(), strict=True)):
            exact[k] += (Fraction(bias) + sum(Fraction(w) * s for w, s in zip(row, shifts, strict=True))) / 2
    with torch.no_grad():
        assert ulps(fold_heads(heads).bias, exact).max() < 0.6


@torch.no_grad()
def test_folded_layers_pass_through() -> None:
    torch.manual_seed(0)
    linear, convolution, head = LinearNorm(4, 5).eval(), ConvNorm(3, 5).eval(), NormLinear(4, 3).eval()
    for layer in (linear, convolution, head):
        remove_norm(layer)
        assert layer.linear.bias is not None
        layer.linear.bias.normal_()
    for layer, folded in ((linear, fold_linear(linear)), (convolution, fold_convolution(convolution))):
        assert torch.equal(folded.weight, layer.linear.weight)
        assert folded.bias is not None
        assert layer.linear.bias is not None
        assert torch.equal(folded.bias, layer.linear.bias)
    assert torch.equal(fold_heads([head]).weight, head.linear.weight)
    assert torch.equal(fold_heads([head, head]).bias, head.linear.bias)


def test_folding_stays_on_the_device_of_the_model() -> None:
    # No second device is at hand everywhere; the meta device refuses to mix with the processor just as a GPU does.
    with torch.device("meta"):
        model = create_model("128S", image_size=32)
    assert {parameter.device.type for parameter in fuse(model).parameters()} == {"meta"}

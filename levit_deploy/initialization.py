"""Seeded weights of an untrained LeViT in which every tensor matters to the logits.

The authors' initial weights hide attention: the gains of every residual branch and all attention biases are
zero. Plain noise makes the network chaotic or blind instead. These weights are neither: the logits have a
standard deviation of about one, follow the image, and notice one wrong detail (an epsilon, a shifted bias) by
1e-2 or more.

The same seed gives the same weights on every machine: draws are sums of uniform numbers, which no vector unit
rounds differently, and the measured statistics are taken in float64 and kept to bfloat16 precision.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from levit_deploy.model import (
    Attention,
    BiasTable,
    ConvNorm,
    DownsampleAttention,
    Levit,
    LinearNorm,
    Mlp,
    NormLinear,
)

# With 8 images LeViT-384 turned chaotic on one image in five; with 12 and more it did on none of 24.
CALIBRATION_IMAGES = 16
# Larger queries and keys make the softmax pick one token, and rare images fall between two: float32 then differs
# from float64 by a hundred times more than on the others.
ATTENTION_GAIN = 0.5
RESIDUAL_GAIN = 0.6
HEAD_STD = 0.08
BIAS_STD = 1.0
SMALL_VARIANCE_EVERY = 16
SMALL_VARIANCE_EXPONENTS = (-4.7, -3.7)


@torch.no_grad()
def randomize(model: Levit, seed: int) -> None:
    """Replace all weights and statistics of the unfused `model`, in place; its training flag stays."""
    generator = torch.Generator().manual_seed(seed)
    for layer in _normalized_layers(model):
        _draw_layer(layer, generator)
    for module in model.modules():
        if isinstance(module, Attention):
            module.qkv.norm.weight.mul_(ATTENTION_GAIN)
            module.projection.norm.weight.mul_(RESIDUAL_GAIN)
        elif isinstance(module, DownsampleAttention):
            module.key_value.norm.weight.mul_(ATTENTION_GAIN)
            module.query.norm.weight.mul_(ATTENTION_GAIN)
        elif isinstance(module, Mlp):
            module.contract.norm.weight.mul_(RESIDUAL_GAIN)
        elif isinstance(module, BiasTable):
            module.table.copy_(_bell(tuple(module.table.shape), generator) * BIAS_STD)
    images = sample_images(CALIBRATION_IMAGES, model.config.image_size, generator)
    _measure_statistics(model, images)
    for layer in _normalized_layers(model):
        _shrink_some_variances(layer.norm, generator)


def sample_images(count: int, image_size: int, generator: torch.Generator) -> Tensor:
    """Normalised image-like inputs, float64 (count, 3, S, S): colour offsets, soft shapes and some noise.

    White noise alone would not do: all its images look the same to a network that averages.
    """
    coarse = _uniform((count, 3, 5, 5), -2.0, 2.0, generator).double()
    shapes = nn.functional.interpolate(coarse, size=(image_size, image_size), mode="bilinear", align_corners=True)
    contrast = _uniform((count, 1, 1, 1), 0.3, 1.5, generator).double()
    offset = _uniform((count, 3, 1, 1), -1.0, 1.0, generator).double()
    # Some images are mostly noise: else the network would amplify every sharp edge beyond all measure.
    grain = _uniform((count, 1, 1, 1), 0.1, 2.0, generator).double()
    noise = _bell((count, 3, image_size, image_size), generator).double()
    return shapes * contrast + offset + grain * noise


def _normalized_layers(model: Levit) -> Iterator[ConvNorm | LinearNorm | NormLinear]:
    for module in model.modules():
        if isinstance(module, ConvNorm | LinearNorm | NormLinear):
            yield module


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator) * (high - low) + low


def _bell(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Nearly normal numbers of mean 0 and deviation 1: four uniform ones added in a fixed order."""
    total = torch.rand(shape, generator=generator)
    for _ in range(3):
        total = total + torch.rand(shape, generator=generator)
    return (total - 2.0) * math.sqrt(3.0)


def _draw_layer(layer: ConvNorm | LinearNorm | NormLinear, generator: torch.Generator) -> None:
    weight, norm = layer.linear.weight, layer.norm
    deviation = HEAD_STD if isinstance(layer, NormLinear) else weight[0].numel() ** -0.5
    weight.copy_(_bell(tuple(weight.shape), generator) * deviation)
    if layer.linear.bias is not None:
        layer.linear.bias.copy_(_bell(tuple(layer.linear.bias.shape), generator) * 0.3)
    channels = tuple(norm.weight.shape)
    sign = torch.where(torch.rand(channels, generator=generator) < 0.1, -1.0, 1.0)
    norm.weight.copy_(_uniform(channels, 0.4, 1.6, generator) * sign)
    norm.bias.copy_(_bell(channels, generator) * 0.3)


def _measure_statistics(model: Levit, images: Tensor) -> None:
    """Set the running statistics to those of `images`; variances a tenth of their mean larger."""
    # Every normalisation uses the statistics of the batch while measuring, so that rounding them for one
    # layer does not reach the next, where another machine might then round the other way.
    measured = copy.deepcopy(model).double().eval()
    for layer in _normalized_layers(measured):
        layer.norm.momentum = None  # the plain average; of one batch, so that batch
        layer.norm.reset_running_stats()
        layer.norm.train()
    measured(images)
    for target, source in zip(_normalized_layers(model), _normalized_layers(measured), strict=True):
        mean, variance = _statistics(source.norm)
        target_mean, target_variance = _statistics(target.norm)
        target_mean.copy_(mean.bfloat16())
        target_variance.copy_((variance + 0.1 * variance.mean()).bfloat16())


def _statistics(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean, norm.running_var


def _shrink_some_variances(norm: nn.BatchNorm1d | nn.BatchNorm2d, generator: torch.Generator) -> None:
    """Give some channels a variance near epsilon, with a gain that undoes it: a wrong epsilon then shows."""
    _, variance = _statistics(norm)
    exponents = _uniform(tuple(variance.shape), *SMALL_VARIANCE_EXPONENTS, generator).double()
    small = torch.pow(10.0, exponents).bfloat16().double()
    chosen = torch.arange(variance.numel()) % SMALL_VARIANCE_EVERY == 0
    gain = norm.weight * ((small + norm.eps) / (variance.double() + norm.eps)).sqrt()
    norm.weight.copy_(torch.where(chosen, gain.bfloat16(), norm.weight))
    variance.copy_(torch.where(chosen, small, variance))

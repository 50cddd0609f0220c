"""Fold everything that is affine in evaluation into its neighbour; computed in float64, cast once.

With g, β, μ, v the gain, shift, mean and variance of a normalisation and a = g / sqrt(v + eps):

    Conv/Linear, then norm   W' = diag(a) W         b' = β + a (b - μ)
    norm, then Linear        W' = W diag(a)         b' = b + W (β - a μ)
    two heads and their mean W' = (W'₁ + W'₂) / 2   b' = (b'₁ + b'₂) / 2
    query scale s            the query rows of W' and b' times s

Attention biases are gathered from their tables into constants. Paths of modules stay what they were.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from levit_deploy.model import (
    Attention,
    ConvNorm,
    DownsampleAttention,
    Levit,
    LinearNorm,
    NormLinear,
    attend,
    pick_queries,
)


class FusedAttention(nn.Module):
    """Attention with the scale in the query rows of `qkv` and a constant bias (N, T, T)."""

    bias: Tensor

    def __init__(self, source: Attention) -> None:
        super().__init__()
        self.heads = source.heads
        self.widths = (source.key_dim, source.key_dim, source.value_dim)
        row_scale = torch.ones(self.heads, sum(self.widths), dtype=torch.float64)
        row_scale[:, : source.key_dim] = source.scale
        self.qkv = fold_linear(source.qkv, row_scale=row_scale.flatten())
        self.activation = source.activation
        self.projection = fold_linear(source.projection)
        self.register_buffer("bias", source.bias().detach().contiguous())

    def forward(self, x: Tensor) -> Tensor:
        heads = self.qkv(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, N, T, 2D + V)
        query, key, value = heads.split(self.widths, dim=-1)
        mixed = attend(query, key, value, self.bias)  # (B, T, N·V)
        projected: Tensor = self.projection(self.activation(mixed))
        return projected


class FusedDownsampleAttention(nn.Module):
    """Downsampling attention with the scale in `query` and a constant bias (N, Tq, T)."""

    bias: Tensor

    def __init__(self, source: DownsampleAttention) -> None:
        super().__init__()
        self.heads = source.heads
        self.widths = (source.key_dim, source.value_dim)
        self.resolution = source.resolution
        self.key_value = fold_linear(source.key_value)
        row_scale = torch.full((self.heads * source.key_dim,), source.scale, dtype=torch.float64)
        self.query = fold_linear(source.query, row_scale=row_scale)
        self.activation = source.activation
        self.projection = fold_linear(source.projection)
        self.register_buffer("bias", source.bias().detach().contiguous())

    def forward(self, x: Tensor) -> Tensor:
        heads = self.key_value(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, N, T, D + V)
        key, value = heads.split(self.widths, dim=-1)
        picked = pick_queries(x, self.resolution)  # (B, Tq, C)
        query = self.query(picked).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, N, Tq, D)
        mixed = attend(query, key, value, self.bias)  # (B, Tq, N·V)
        projected: Tensor = self.projection(self.activation(mixed))
        return projected


def _norm_factors(norm: nn.Module, channels: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """(a, μ, β) of a normalisation in float64; of a folded one (Identity), one, zero and zero."""
    if isinstance(norm, nn.Identity):
        zero = torch.zeros(channels, dtype=torch.float64, device=device)
        return torch.ones_like(zero), zero, zero
    assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    gain = norm.weight.double() / (variance.double() + norm.eps).sqrt()
    return gain, mean.double(), norm.bias.double()


def _bias_or_zero(layer: nn.Conv2d | nn.Linear) -> Tensor:
    if layer.bias is None:
        return torch.zeros(layer.weight.shape[0], dtype=torch.float64, device=layer.weight.device)
    return layer.bias.double()


def _fold_norm_after(layer: ConvNorm | LinearNorm) -> tuple[Tensor, Tensor]:
    """Weight and bias, float64, of `layer.linear` with the normalisation behind it."""
    weight = layer.linear.weight.double()
    gain, mean, shift = _norm_factors(layer.norm, weight.shape[0], weight.device)
    bias = shift + gain * (_bias_or_zero(layer.linear) - mean)
    return weight * gain.reshape(-1, *(1,) * (weight.ndim - 1)), bias


def _fold_norm_before(layer: NormLinear) -> tuple[Tensor, Tensor]:
    """Weight and bias, float64, of `layer.linear` with the normalisation in front of it."""
    weight = layer.linear.weight.double()
    gain, mean, shift = _norm_factors(layer.norm, weight.shape[1], weight.device)
    return weight * gain, _bias_or_zero(layer.linear) + weight @ (shift - gain * mean)


def _linear_from(weight: Tensor, bias: Tensor, like: Tensor) -> nn.Linear:
    """A linear layer with these float64 parameters, cast to the dtype and device of `like`."""
    outputs, inputs = weight.shape
    linear = nn.Linear(inputs, outputs, dtype=like.dtype, device=like.device)
    linear.weight.copy_(weight)
    linear.bias.copy_(bias)
    return linear


def fold_linear(layer: LinearNorm, *, row_scale: Tensor | None = None) -> nn.Linear:
    """`layer` as one linear layer; its output rows times `row_scale` (float64, (C',)) if that is given."""
    weight, bias = _fold_norm_after(layer)
    if row_scale is not None:
        row_scale = row_scale.to(weight.device)
        weight, bias = weight * row_scale[:, None], bias * row_scale
    return _linear_from(weight, bias, layer.linear.weight)


def fold_convolution(layer: ConvNorm) -> nn.Conv2d:
    """`layer` as one convolution with bias."""
    source = layer.linear
    weight, bias = _fold_norm_after(layer)
    outputs, inputs = weight.shape[:2]
    convolution = nn.Conv2d(
        inputs, outputs, 3, stride=2, padding=1, dtype=source.weight.dtype, device=source.weight.device
    )
    convolution.weight.copy_(weight)
    assert convolution.bias is not None
    convolution.bias.copy_(bias)
    return convolution


def fold_heads(heads: Sequence[NormLinear]) -> nn.Linear:
    """The mean of the logits of one or two heads as one linear layer."""
    folded = [_fold_norm_before(head) for head in heads]
    weight = torch.stack([weight for weight, _ in folded]).mean(0)
    bias = torch.stack([bias for _, bias in folded]).mean(0)
    return _linear_from(weight, bias, heads[0].linear.weight)


def _fused(module: nn.Module) -> nn.Module:
    """The folded form of one module; modules without a normalisation are returned as they are."""
    match module:
        case ConvNorm():
            return fold_convolution(module)
        case LinearNorm():
            return fold_linear(module)
        case Attention():
            return FusedAttention(module)
        case DownsampleAttention():
            return FusedDownsampleAttention(module)
        case _:
            _fuse_children(module)
            return module


def _fuse_children(module: nn.Module) -> None:
    for name, child in module.named_children():
        setattr(module, name, _fused(child))


@torch.no_grad()
def fuse(model: Levit) -> Levit:
    """The same function as `model` in evaluation, without a normalisation, on the same paths.

    The argument is left untouched; the result is in evaluation mode, in the dtype of the argument, and shares no
    storage with it. Its `distillation_head` is None: both heads and their mean are in `head`.
    """
    fused = copy.deepcopy(model).eval()
    heads = [head for head in (fused.head, fused.distillation_head) if isinstance(head, NormLinear)]
    if heads:
        fused.head, fused.distillation_head = fold_heads(heads), None
    _fuse_children(fused.stem)
    _fuse_children(fused.stages)
    return fused.requires_grad_(requires_grad=False)

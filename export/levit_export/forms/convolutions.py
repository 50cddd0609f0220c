"""The fused network on an image grid: every linear layer a 1x1 convolution, activations (B, C, H, W).

ONNX Runtime's CPU kernels run this form fastest in float32: convolutions take the hard-swish and the residual
into their own loop. The arithmetic is that of the fused network; module paths are too.

Letters: B batch, N heads, D key width, V value width, T = H·W key positions, Tq query positions.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from levit_deploy.fusion import FusedAttention, FusedDownsampleAttention
from levit_deploy.model import DOWNSAMPLE_STRIDE, Levit


def attend_channels_first(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """softmax(qᵀ k + bias) applied to v: q (B, N, D, Tq), k (B, N, D, T), v (B, N, V, T) -> (B, N, V, Tq)."""
    weights = (query.transpose(-2, -1) @ key + bias).softmax(dim=-1)  # (B, N, Tq, T)
    return value @ weights.transpose(-2, -1)


class GridAttention(nn.Module):
    """Attention on a grid: (B, C, H, W) -> (B, C, H, W)."""

    bias: Tensor

    def __init__(self, source: FusedAttention) -> None:
        super().__init__()
        self.heads = source.heads
        self.widths = source.widths
        self.qkv = convolution_from(source.qkv)
        self.activation = source.activation
        self.projection = convolution_from(source.projection)
        self.register_buffer("bias", source.bias)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        heads = torch.unflatten(self.qkv(x).flatten(2), 1, (self.heads, -1))  # (B, N, 2D + V, T)
        query, key, value = torch.split(heads, list(self.widths), dim=2)
        mixed = attend_channels_first(query, key, value, self.bias)  # (B, N, V, T)
        grid = torch.unflatten(mixed.flatten(1, 2), -1, (height, width))  # (B, N·V, H, W)
        projected: Tensor = self.projection(self.activation(grid))
        return projected


class GridDownsampleAttention(nn.Module):
    """Downsampling attention on a grid; the queries come from a convolution with stride 2."""

    bias: Tensor

    def __init__(self, source: FusedDownsampleAttention) -> None:
        super().__init__()
        self.heads = source.heads
        self.widths = source.widths
        self.key_value = convolution_from(source.key_value)
        self.query = convolution_from(source.query, stride=DOWNSAMPLE_STRIDE)
        self.activation = source.activation
        self.projection = convolution_from(source.projection)
        self.register_buffer("bias", source.bias)

    def forward(self, x: Tensor) -> Tensor:
        heads = self.key_value(x).flatten(2).unflatten(1, (self.heads, -1))  # (B, N, D + V, T)
        key, value = heads.split(self.widths, dim=2)
        query_grid = self.query(x)  # (B, N·D, H', W')
        height, width = query_grid.shape[-2:]
        query = query_grid.flatten(2).unflatten(1, (self.heads, -1))  # (B, N, D, Tq)
        mixed = attend_channels_first(query, key, value, self.bias)  # (B, N, V, Tq)
        grid = torch.unflatten(mixed.flatten(1, 2), -1, (height, width))  # (B, N·V, H', W')
        projected: Tensor = self.projection(self.activation(grid))
        return projected


class ConvolutionForm(nn.Module):
    """The fused network, normalised images (B, 3, S, S) -> logits (B, classes), without leaving the grid."""

    def __init__(self, fused: Levit) -> None:
        super().__init__()
        self.stem = fused.stem
        self.stages = _on_grid(fused.stages)
        self.head = fused.head

    def forward(self, images: Tensor) -> Tensor:
        features = self.stages(self.stem(images)).mean(dim=(2, 3))  # (B, C)
        logits: Tensor = self.head(features)
        return logits


def convolution_from(linear: nn.Linear, *, stride: int = 1) -> nn.Conv2d:
    """The 1x1 convolution that computes what `linear` does at every (or every `stride`-th) position."""
    convolution = nn.Conv2d(linear.in_features, linear.out_features, 1, stride=stride, dtype=linear.weight.dtype)
    convolution.weight = nn.Parameter(linear.weight[:, :, None, None], requires_grad=False)
    convolution.bias = nn.Parameter(linear.bias, requires_grad=False)
    return convolution


def _on_grid(module: nn.Module) -> nn.Module:
    match module:
        case FusedAttention():
            return GridAttention(module)
        case FusedDownsampleAttention():
            return GridDownsampleAttention(module)
        case nn.Linear():
            return convolution_from(module)
        case _:
            for name, child in module.named_children():
                setattr(module, name, _on_grid(child))
            return module


@torch.no_grad()
def convolution_form(fused: Levit) -> ConvolutionForm:
    """`fused` in this form; the argument is left untouched."""
    return ConvolutionForm(copy.deepcopy(fused)).eval()

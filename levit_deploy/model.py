"""The eager reference model: LeViT as the paper draws it. Run in float64 it is the truth of every parity check.

Letters: B batch, r side of the token grid, T = r² tokens, C channels, N heads, D key width, V value width.

Source: arXiv 2104.01136, figures 4 and 5, section 4; details (initialisation, order of residuals, the strided
pick of queries) from the authors' published code.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, cast

import torch
from torch import Tensor, nn

from levit_deploy.architectures import DOWNSAMPLE_VALUE_RATIO, MLP_RATIO, VALUE_RATIO, LevitConfig, config_for

NORM_EPS = 1e-5
DOWNSAMPLE_STRIDE = 2


class ConvNorm(nn.Module):
    """3x3 convolution that halves the image, then batch normalisation: (B, C, H, W) -> (B, C', H/2, W/2)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Conv2d(inputs, outputs, kernel_size=3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        normalized: Tensor = self.norm(self.linear(x))
        return normalized


class LinearNorm(nn.Module):
    """Linear layer without bias, then batch normalisation over all tokens: (B, T, C) -> (B, T, C')."""

    def __init__(self, inputs: int, outputs: int, *, gain: float = 1.0) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=False)
        self.norm = nn.BatchNorm1d(outputs, eps=NORM_EPS)
        nn.init.constant_(self.norm.weight, gain)

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        normalized: Tensor = self.norm(x.flatten(0, 1))  # (B·T, C')
        return normalized.reshape_as(x)  # (B, T, C')


class NormLinear(nn.Module):
    """A classification head: batch normalisation, then a linear layer: (B, C) -> (B, classes)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(inputs, eps=NORM_EPS)
        self.linear = nn.Linear(inputs, outputs)
        nn.init.trunc_normal_(self.linear.weight, std=0.02)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.norm(x))
        return logits


def remove_norm(layer: ConvNorm | LinearNorm | NormLinear) -> None:
    """Give `layer` the form of an already folded one, in place: its linear part has a bias, nothing normalises."""
    linear = layer.linear
    if linear.bias is None:
        linear.bias = nn.Parameter(linear.weight.new_zeros(linear.weight.shape[0]))
    layer.add_module("norm", nn.Identity())


class StochasticDepth(nn.Module):
    """Drops a residual branch for whole images while training, and scales the others up to keep the mean."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return branch
        keep = 1.0 - self.rate
        mask = branch.new_empty(branch.shape[0], *(1,) * (branch.ndim - 1)).bernoulli_(keep)
        return branch * mask / keep


def offset_index(resolution: int, stride: int = 1) -> Tensor:
    """Which entry of a bias table each (query, key) pair reads: |dy|·r + |dx|, int64 (queries, T).

    Queries are the keys at every `stride`-th row and column. Every origin of checkpoints numbers its table so.
    """
    keys = torch.cartesian_prod(torch.arange(resolution), torch.arange(resolution))  # (T, 2)
    picked = torch.arange(0, resolution, stride)
    queries = torch.cartesian_prod(picked, picked)  # (queries, 2)
    distance = (queries[:, None, :] - keys[None, :, :]).abs()  # (queries, T, 2)
    return distance[..., 0] * resolution + distance[..., 1]


def pick_queries(x: Tensor, resolution: int) -> Tensor:
    """The tokens at even rows and columns: (B, r², C) -> (B, ceil(r/2)², C)."""
    grid = torch.unflatten(x, 1, (resolution, resolution))  # (B, r, r, C)
    return grid[:, ::DOWNSAMPLE_STRIDE, ::DOWNSAMPLE_STRIDE].flatten(1, 2)


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """softmax(q kᵀ + bias) v for scaled q (B, N, Tq, D), k (B, N, T, D), v (B, N, T, V), bias (N, Tq, T).

    Returns the heads side by side: (B, Tq, N·V).
    """
    weights = (query @ key.transpose(-2, -1) + bias).softmax(dim=-1)  # (B, N, Tq, T)
    return (weights @ value).transpose(1, 2).flatten(2)  # (B, N, Tq, V) -> (B, Tq, N·V)


class BiasTable(nn.Module):
    """One learned value per head and distance |dy|, |dx|; what both kinds of attention add before the softmax."""

    def __init__(self, heads: int, resolution: int, stride: int = 1) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(heads, resolution**2))
        self.register_buffer("offsets", offset_index(resolution, stride), persistent=False)

    def forward(self) -> Tensor:
        return self.table[:, cast(Tensor, self.offsets)]  # (N, Tq, T)


class Attention(nn.Module):
    """Attention whose bias depends on |dy| and |dx| only: (B, T, C) -> (B, T, C)."""

    def __init__(self, dim: int, heads: int, key_dim: int, resolution: int) -> None:
        super().__init__()
        self.heads = heads
        self.key_dim = key_dim
        self.value_dim = VALUE_RATIO * key_dim
        self.scale = key_dim**-0.5
        self.qkv = LinearNorm(dim, heads * (2 * key_dim + self.value_dim))
        self.activation = nn.Hardswish()
        self.projection = LinearNorm(heads * self.value_dim, dim, gain=0.0)
        self.bias = BiasTable(heads, resolution)

    def forward(self, x: Tensor) -> Tensor:
        # The channels of qkv are grouped by head: [q | k | v] of head 0, then of head 1, …
        heads = self.qkv(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, N, T, 2D + V)
        query, key, value = heads.split((self.key_dim, self.key_dim, self.value_dim), dim=-1)
        mixed = attend(query * self.scale, key, value, self.bias())  # (B, T, N·V)
        projected: Tensor = self.projection(self.activation(mixed))
        return projected


class DownsampleAttention(nn.Module):
    """Attention whose queries are every second row and column: (B, r², C) -> (B, ceil(r/2)², C')."""

    def __init__(self, dim: int, out_dim: int, heads: int, key_dim: int, resolution: int) -> None:
        super().__init__()
        self.heads = heads
        self.key_dim = key_dim
        self.value_dim = DOWNSAMPLE_VALUE_RATIO * key_dim
        self.resolution = resolution
        self.scale = key_dim**-0.5
        self.key_value = LinearNorm(dim, heads * (key_dim + self.value_dim))
        self.query = LinearNorm(dim, heads * key_dim)
        self.activation = nn.Hardswish()
        self.projection = LinearNorm(heads * self.value_dim, out_dim)
        self.bias = BiasTable(heads, resolution, DOWNSAMPLE_STRIDE)

    def forward(self, x: Tensor) -> Tensor:
        heads = self.key_value(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, N, T, D + V)
        key, value = heads.split((self.key_dim, self.value_dim), dim=-1)
        query = self.query(pick_queries(x, self.resolution)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        mixed = attend(query * self.scale, key, value, self.bias())  # (B, Tq, N·V)
        projected: Tensor = self.projection(self.activation(mixed))
        return projected


class Mlp(nn.Module):
    """Two linear layers with a hard-swish between them: (B, T, C) -> (B, T, C)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.expand = LinearNorm(dim, MLP_RATIO * dim)
        self.activation = nn.Hardswish()
        self.contract = LinearNorm(MLP_RATIO * dim, dim, gain=0.0)

    def forward(self, x: Tensor) -> Tensor:
        contracted: Tensor = self.contract(self.activation(self.expand(x)))
        return contracted


class Downsample(nn.Module):
    """What leads into a later stage: an attention that shrinks the grid (no residual), then an MLP."""

    def __init__(self, config: LevitConfig, stage: int) -> None:
        super().__init__()
        before, after = config.embed_dims[stage - 1 : stage + 1]
        self.attention = DownsampleAttention(
            before, after, config.downsample_heads(stage), config.key_dim, config.resolutions[stage - 1]
        )
        self.mlp = Mlp(after)
        self.drop_path = StochasticDepth(config.drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attention(x)
        dropped: Tensor = self.drop_path(self.mlp(x))
        return x + dropped


class Block(nn.Module):
    """Attention, then MLP, each added to what it was given."""

    def __init__(self, config: LevitConfig, stage: int) -> None:
        super().__init__()
        dim = config.embed_dims[stage]
        self.attention = Attention(dim, config.heads[stage], config.key_dim, config.resolutions[stage])
        self.mlp = Mlp(dim)
        self.drop_path = StochasticDepth(config.drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attention(x))
        dropped: Tensor = self.drop_path(self.mlp(x))
        return x + dropped


class Stage(nn.Module):
    """The blocks that share one grid, after the downsampler that leads to it."""

    def __init__(self, config: LevitConfig, stage: int) -> None:
        super().__init__()
        self.downsample = Downsample(config, stage) if stage else nn.Identity()
        self.blocks = nn.Sequential(*(Block(config, stage) for _ in range(config.depths[stage])))

    def forward(self, x: Tensor) -> Tensor:
        blocks: Tensor = self.blocks(self.downsample(x))
        return blocks


def _stem(config: LevitConfig) -> nn.Sequential:
    """Four ConvNorm, named conv1 to conv4, with hard-swish between them: (B, 3, 16r, 16r) -> (B, C, r, r)."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels = 3
    for number, outputs in enumerate(config.stem_channels, start=1):
        if number > 1:
            layers[f"activation{number - 1}"] = nn.Hardswish()
        layers[f"conv{number}"] = ConvNorm(channels, outputs)
        channels = outputs
    return nn.Sequential(layers)


class Levit(nn.Module):
    """LeViT from normalised images (B, 3, S, S) to logits (B, classes).

    While training with the distillation head it returns the pair (logits, distillation logits); in evaluation
    the mean of the two. `Levit(config)` has the authors' initial weights.
    """

    def __init__(self, config: LevitConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = _stem(config)
        self.stages = nn.Sequential(*(Stage(config, stage) for stage in range(len(config.depths))))
        self.head: nn.Module = NormLinear(config.embed_dims[-1], config.num_classes)
        self.distillation_head: nn.Module | None = (
            NormLinear(config.embed_dims[-1], config.num_classes) if config.distillation else None
        )

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        tokens = self.stem(images).flatten(2).transpose(1, 2)  # (B, C, r, r) -> (B, T, C)
        features = self.stages(tokens).mean(dim=1)  # (B, C)
        logits: Tensor = self.head(features)
        if self.distillation_head is None:
            return logits
        distilled: Tensor = self.distillation_head(features)
        return (logits, distilled) if self.training else (logits + distilled) / 2


def create_model(arch: str, **changes: Any) -> Levit:
    """A published variant with the authors' initial weights; `changes` are LevitConfig fields (num_classes, …)."""
    return Levit(config_for(arch, **changes))

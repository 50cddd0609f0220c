"""Defects of an eager network, fused or not: what the naming of a wrong module is proved with.

Each takes a network, which it spoils, and a generator that chooses place and size. It returns the PyTorch path of
the module it broke, as the parity ladder names it, or None where the network has no place for such a defect.

Letters: B batch, T tokens, C channels, N heads, D key width of a head, V value width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from levit_deploy.fusion import FusedAttention, FusedDownsampleAttention
from levit_deploy.model import (
    Attention,
    BiasTable,
    Block,
    Downsample,
    DownsampleAttention,
    Levit,
    NormLinear,
    pick_queries,
)
from levit_deploy.probes import ROOT_PATH

NetworkDefect = Callable[[Levit, np.random.Generator], str | None]
Choice = TypeVar("Choice")
Kind = TypeVar("Kind", bound=nn.Module)

# Relative sizes are drawn from 10 to the power of this range: from what rounding nearly hides to what none misses.
SIZE_EXPONENTS = (-4.5, 0.0)
WRONG_EPSILONS = (1e-3, 1e-6, 1e-12)
WRONG_ACTIVATIONS = (nn.ReLU, nn.Hardsigmoid, nn.SiLU, nn.Identity)


def choose(items: Sequence[Choice], generator: np.random.Generator) -> Choice:
    """One of `items`, which may not be empty."""
    return items[int(generator.integers(len(items)))]


def small_size(generator: np.random.Generator) -> float:
    """A relative size of a defect, positive or negative."""
    return float(10 ** generator.uniform(*SIZE_EXPONENTS) * generator.choice((-1, 1)))


def _of_kind(model: nn.Module, *kinds: type[Kind]) -> list[tuple[str, Kind]]:
    return [(path, module) for path, module in model.named_modules() if isinstance(module, kinds)]


def _layer(model: Levit, generator: np.random.Generator) -> tuple[str, nn.Linear | nn.Conv2d]:
    path, layer = choose(_of_kind(model, nn.Linear, nn.Conv2d), generator)
    return _named(path), cast("nn.Linear | nn.Conv2d", layer)


def _norm(model: Levit, generator: np.random.Generator) -> tuple[str, nn.BatchNorm1d | nn.BatchNorm2d]:
    path, norm = choose(_of_kind(model, nn.BatchNorm1d, nn.BatchNorm2d), generator)
    return _named(path), cast("nn.BatchNorm1d | nn.BatchNorm2d", norm)


def _named(path: str) -> str:
    """The module that the ladder names for a defect in the parameters at `path`: both heads are one to it."""
    return path.removesuffix(".linear").removesuffix(".norm").removeprefix("distillation_")


# Parameters that every network has.


def negate_weight(model: Levit, generator: np.random.Generator) -> str:
    """One weight of one layer has the wrong sign."""
    path, layer = _layer(model, generator)
    weights = layer.weight.view(-1)
    weights[int(generator.integers(weights.numel()))].neg_()
    return path


def negate_row(model: Levit, generator: np.random.Generator) -> str:
    """All weights of one output channel have the wrong sign."""
    path, layer = _layer(model, generator)
    layer.weight[int(generator.integers(len(layer.weight)))].neg_()
    return path


def scale_channel(model: Levit, generator: np.random.Generator) -> str:
    """The weights of one output channel are a little too large or too small."""
    path, layer = _layer(model, generator)
    layer.weight[int(generator.integers(len(layer.weight)))].mul_(1 + small_size(generator))
    return path


def lose_weight(model: Levit, generator: np.random.Generator) -> str:
    """One weight of one layer is not a number."""
    path, layer = _layer(model, generator)
    weights = layer.weight.view(-1)
    weights[int(generator.integers(weights.numel()))] = float("nan")
    return path


def round_weights(model: Levit, generator: np.random.Generator) -> str:
    """The weights of one layer went through bfloat16."""
    path, layer = _layer(model, generator)
    layer.weight.copy_(layer.weight.bfloat16())
    return path


def replace_activation(model: Levit, generator: np.random.Generator) -> str:
    """One hard-swish is another function, or none."""
    path, _ = choose(_of_kind(model, nn.Hardswish), generator)
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, choose(WRONG_ACTIVATIONS, generator)())
    return path


# What the unfused network has: normalisations, bias tables, a query scale, two heads.


def keep_stale_mean(model: Levit, generator: np.random.Generator) -> str:
    """The running means of one layer lag behind, towards the zeros they started from."""
    path, norm = _norm(model, generator)
    cast(Tensor, norm.running_mean).mul_(1 - abs(small_size(generator)))
    return path


def keep_stale_variance(model: Levit, generator: np.random.Generator) -> str:
    """The running variances of one layer lag behind, towards the ones they started from."""
    path, norm = _norm(model, generator)
    variance = cast(Tensor, norm.running_var)
    variance.lerp_(torch.ones_like(variance), abs(small_size(generator)))
    return path


def change_epsilon(model: Levit, generator: np.random.Generator) -> str:
    """One normalisation has another epsilon."""
    path, norm = _norm(model, generator)
    norm.eps = choose(WRONG_EPSILONS, generator)
    return path


def shift_bias_index(model: Levit, generator: np.random.Generator) -> str:
    """One attention bias is read from the entry next to the right one."""
    path, table = choose(_of_kind(model, BiasTable), generator)
    table.table.copy_(table.table.roll(1, -1))
    return path


def negate_bias_entry(model: Levit, generator: np.random.Generator) -> str:
    """One entry of one bias table has the wrong sign."""
    path, table = choose(_of_kind(model, BiasTable), generator)
    entries = table.table.view(-1)
    entries[int(generator.integers(entries.numel()))].neg_()
    return path


def swap_queries_and_keys(model: Levit, generator: np.random.Generator) -> str:
    """In the weights of one attention, the rows of queries and keys are in each other's place."""
    path, attention = choose(_of_kind(model, Attention), generator)
    _swap_heads_rows(attention.qkv.linear.weight, attention.heads, attention.key_dim)
    return f"{path}.qkv"


def _swap_heads_rows(rows: Tensor, heads: int, key_dim: int) -> None:
    """Exchange the first and second `key_dim` of the rows of every head, in place: (N·(2D + V), …)."""
    by_head = rows.view(heads, -1, *rows.shape[1:])
    queries = by_head[:, :key_dim].clone()
    by_head[:, :key_dim] = by_head[:, key_dim : 2 * key_dim]
    by_head[:, key_dim : 2 * key_dim] = queries


def forget_query_scale(model: Levit, generator: np.random.Generator) -> str:
    """The queries of one attention are not scaled, or not quite as they should be."""
    path, attention = choose(_of_kind(model, Attention, DownsampleAttention), generator)
    wrong = cast("Attention | DownsampleAttention", attention)
    wrong.scale = choose((1.0, wrong.scale * (1 + small_size(generator))), generator)
    return path


def zero_head_bias(model: Levit, generator: np.random.Generator) -> str:
    """One head has no bias."""
    _, head = choose(_of_kind(model, NormLinear), generator)
    head.linear.bias.zero_()
    return "head"


def forget_a_head(model: Levit, generator: np.random.Generator) -> str | None:
    """The logits are those of one head instead of the mean of both."""
    if model.distillation_head is None:
        return None
    model.head = choose((model.head, model.distillation_head), generator)
    model.distillation_head = None
    return "head"


# Wrong code. A subclass takes the place of the class of one module.


class _BlockWithoutFirstResidual(Block):
    def forward(self, x: Tensor) -> Tensor:
        x = self.attention(x)
        mixed: Tensor = self.mlp(x)
        return x + mixed


class _BlockWithoutSecondResidual(Block):
    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.mlp(x + self.attention(x))
        return mixed


class _BlockWithoutResiduals(Block):
    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.mlp(self.attention(x))
        return mixed


class _DownsampleWithoutResidual(Downsample):
    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.mlp(self.attention(x))
        return mixed


class _AttentionOverQueries(Attention):
    def forward(self, x: Tensor) -> Tensor:
        heads = self.qkv(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, N, T, 2D + V)
        query, key, value = heads.split((self.key_dim, self.key_dim, self.value_dim), dim=-1)
        weights = ((query * self.scale) @ key.transpose(-2, -1) + self.bias()).softmax(dim=-2)
        mixed: Tensor = self.projection(self.activation((weights @ value).transpose(1, 2).flatten(2)))
        return mixed


class _AttentionWithMixedHeads(Attention):
    def forward(self, x: Tensor) -> Tensor:
        heads = self.qkv(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, N, T, 2D + V)
        query, key, value = heads.split((self.key_dim, self.key_dim, self.value_dim), dim=-1)
        weights = ((query * self.scale) @ key.transpose(-2, -1) + self.bias()).softmax(dim=-1)
        # (B, N, T, V) -> (B, T, V·N) where (B, T, N·V) is right
        mixed: Tensor = self.projection(self.activation((weights @ value).permute(0, 2, 3, 1).flatten(2)))
        return mixed


class _DownsampleAttentionWithOddRows(DownsampleAttention):
    def forward(self, x: Tensor) -> Tensor:
        heads = self.key_value(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, N, T, D + V)
        key, value = heads.split((self.key_dim, self.value_dim), dim=-1)
        picked = pick_queries(x.roll(-self.resolution, 1), self.resolution)  # one row further down
        query = self.query(picked).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        weights = ((query * self.scale) @ key.transpose(-2, -1) + self.bias()).softmax(dim=-1)
        mixed: Tensor = self.projection(self.activation((weights @ value).transpose(1, 2).flatten(2)))
        return mixed


class _LevitWithTransposedGrid(Levit):
    def forward(self, images: Tensor) -> Tensor:
        tokens = self.stem(images).transpose(2, 3).flatten(2).transpose(1, 2)
        return _mean_of_heads(self, self.stages(tokens).mean(dim=1))


class _LevitWithoutLastToken(Levit):
    def forward(self, images: Tensor) -> Tensor:
        tokens = self.stages(self.stem(images).flatten(2).transpose(1, 2))
        return _mean_of_heads(self, tokens[:, : max(1, tokens.shape[1] - 1)].mean(dim=1))


def _mean_of_heads(model: Levit, features: Tensor) -> Tensor:
    logits: Tensor = model.head(features)
    return logits if model.distillation_head is None else (logits + model.distillation_head(features)) / 2


def _put_wrong_code(model: Levit, generator: np.random.Generator, *wrong: type[nn.Module]) -> str:
    """Give one module whose class is the parent of one of the `wrong` classes that class instead."""
    places = [
        (path, module, kind)
        for kind in wrong
        for path, module in model.named_modules()
        if isinstance(module, kind.__mro__[1])
    ]
    path, module, kind = choose(places, generator)
    module.__class__ = kind
    return path or ROOT_PATH


def drop_residual(model: Levit, generator: np.random.Generator) -> str:
    """One block, or downsampler, does not add what it was given."""
    blocks = (_BlockWithoutFirstResidual, _BlockWithoutSecondResidual, _BlockWithoutResiduals)
    return _put_wrong_code(model, generator, *blocks, _DownsampleWithoutResidual)


def attend_over_queries(model: Levit, generator: np.random.Generator) -> str:
    """The softmax of one attention is over the wrong axis."""
    return _put_wrong_code(model, generator, _AttentionOverQueries)


def mix_heads(model: Levit, generator: np.random.Generator) -> str:
    """The heads of one attention are interleaved instead of one after the other."""
    return _put_wrong_code(model, generator, _AttentionWithMixedHeads)


def pick_odd_rows(model: Levit, generator: np.random.Generator) -> str:
    """One downsampler takes its queries from the wrong rows."""
    return _put_wrong_code(model, generator, _DownsampleAttentionWithOddRows)


def transpose_grid(model: Levit, generator: np.random.Generator) -> str:
    """The tokens are numbered by columns instead of rows."""
    return _put_wrong_code(model, generator, _LevitWithTransposedGrid)


def forget_last_token(model: Levit, generator: np.random.Generator) -> str:
    """The mean is over all tokens but the last."""
    return _put_wrong_code(model, generator, _LevitWithoutLastToken)


# What only the fused network has.


def _fused_attention(
    model: Levit, generator: np.random.Generator
) -> tuple[str, FusedAttention | FusedDownsampleAttention]:
    path, attention = choose(_of_kind(model, FusedAttention, FusedDownsampleAttention), generator)
    return path, cast("FusedAttention | FusedDownsampleAttention", attention)


def forget_folded_scale(model: Levit, generator: np.random.Generator) -> str:
    """The queries of one layer are not scaled."""
    path, attention = _fused_attention(model, generator)
    key_dim = attention.widths[0]
    layer = attention.qkv if isinstance(attention, FusedAttention) else attention.query
    for rows in (layer.weight, layer.bias):
        rows.view(attention.heads, -1, *rows.shape[1:])[:, :key_dim].mul_(key_dim**0.5)
    return f"{path}.qkv" if isinstance(attention, FusedAttention) else f"{path}.query"


def swap_folded_queries_and_keys(model: Levit, generator: np.random.Generator) -> str:
    """In one folded layer, the rows of queries and keys are in each other's place."""
    path, attention = choose(_of_kind(model, FusedAttention), generator)
    for rows in (attention.qkv.weight, attention.qkv.bias):
        _swap_heads_rows(rows, attention.heads, attention.widths[0])
    return f"{path}.qkv"


def roll_bias(model: Levit, generator: np.random.Generator) -> str:
    """One attention bias is shifted by one key."""
    path, attention = _fused_attention(model, generator)
    attention.bias.copy_(attention.bias.roll(1, -1))
    return f"{path}.bias"


def zero_bias(model: Levit, generator: np.random.Generator) -> str:
    """One attention has no bias for one head."""
    path, attention = _fused_attention(model, generator)
    attention.bias[int(generator.integers(attention.heads))].zero_()
    return f"{path}.bias"


def transpose_projection(model: Levit, generator: np.random.Generator) -> str:
    """One square projection is written transposed."""
    places = [place for place in _of_kind(model, nn.Linear) if place[1].in_features == place[1].out_features]
    path, layer = choose(places, generator)
    layer.weight.copy_(layer.weight.T.clone())
    return path


def zero_layer_bias(model: Levit, generator: np.random.Generator) -> str:
    """One folded layer lacks its bias, where the mean and shift of the normalisation went."""
    path, layer = _layer(model, generator)
    cast(Tensor, layer.bias).zero_()
    return path


_OF_EVERY_NETWORK: Mapping[str, NetworkDefect] = MappingProxyType(
    {
        "weight sign": negate_weight,
        "row sign": negate_row,
        "scaled channel": scale_channel,
        "weight not a number": lose_weight,
        "weights in bfloat16": round_weights,
        "wrong activation": replace_activation,
    }
)

_OF_NORMALIZATION: Mapping[str, NetworkDefect] = MappingProxyType(
    {
        "stale mean": keep_stale_mean,
        "stale variance": keep_stale_variance,
        "wrong epsilon": change_epsilon,
        "one head only": forget_a_head,
    }
)

EAGER_DEFECTS: Mapping[str, NetworkDefect] = MappingProxyType(
    {
        **_OF_EVERY_NETWORK,
        **_OF_NORMALIZATION,
        "shifted bias index": shift_bias_index,
        "bias entry sign": negate_bias_entry,
        "swapped queries and keys": swap_queries_and_keys,
        "wrong query scale": forget_query_scale,
        "zeroed head bias": zero_head_bias,
        "dropped residual": drop_residual,
        "softmax over queries": attend_over_queries,
        "mixed heads": mix_heads,
        "wrong rows picked": pick_odd_rows,
        "transposed grid": transpose_grid,
        "mean over fewer tokens": forget_last_token,
    }
)

# Put into the unfused network before it is fused: folding that read the wrong thing.
FOLDING_DEFECTS: Mapping[str, NetworkDefect] = MappingProxyType(
    {
        f"folded {kind}": defect
        for kind, defect in {
            **_OF_NORMALIZATION,
            "shifted bias index": shift_bias_index,
            "bias entry sign": negate_bias_entry,
        }.items()
    }
)

FUSED_DEFECTS: Mapping[str, NetworkDefect] = MappingProxyType(
    {
        **_OF_EVERY_NETWORK,
        "missing query scale": forget_folded_scale,
        "swapped queries and keys": swap_folded_queries_and_keys,
        "rolled bias": roll_bias,
        "zeroed bias of a head": zero_bias,
        "transposed projection": transpose_projection,
        "missing layer bias": zero_layer_bias,
    }
)

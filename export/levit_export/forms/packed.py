"""The fused network with queries, keys and values of one width, packed into one product: what TensorRT fuses.

TensorRT runs attention as one kernel only in half precision, and only where queries, keys and values have heads of one
size; LeViT's values are two or four times as wide as its keys. Rows of zeros make queries and keys as wide: they add
nothing to any product, so the function stays the same. Layers whose rows moved have names of their own
(`packed_qkv`): a value in them is not that of `qkv`.

Letters: B batch, N heads, D key width, V value width, T tokens, Tq query positions, C channels.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from levit_deploy.fusion import FusedAttention, FusedDownsampleAttention
from levit_deploy.model import Levit, attend, pick_queries
from levit_export.naming import packed_path

Attend = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""q (B, N, Tq, V), k and v (B, N, T, V), bias (1, N, Tq, T) -> (B, Tq, N·V)."""


def attend_by_operator(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """`levit_deploy.model.attend` as one ONNX operator, which TensorRT either fuses or refuses to build."""
    mixed = torch.onnx.ops.attention(query, key, value, attn_mask=bias, scale=1.0)[0]  # (B, N, Tq, V)
    return mixed.transpose(1, 2).flatten(2)


class PackedAttention(nn.Module):
    """Attention on tokens (B, T, C) -> (B, T, C)."""

    bias: Tensor

    def __init__(self, source: FusedAttention, attend: Attend) -> None:
        super().__init__()
        self.attend = attend
        self.heads, self.width = source.heads, source.widths[-1]
        self.packed_qkv = _packed(source.qkv, self.heads, source.widths)
        self.activation = source.activation
        self.projection = source.projection
        self.register_buffer("bias", source.bias[None])  # (1, N, Tq, T) here, as an axis added later is an operation

    def forward(self, x: Tensor) -> Tensor:
        heads = self.packed_qkv(x).unflatten(-1, (-1, self.width)).transpose(1, 2)  # (B, 3N, T, V)
        query, key, value = heads.split(self.heads, dim=1)
        projected: Tensor = self.projection(self.activation(self.attend(query, key, value, self.bias)))
        return projected


class PackedDownsampleAttention(nn.Module):
    """Downsampling attention on tokens (B, T, C) -> (B, Tq, C')."""

    bias: Tensor

    def __init__(self, source: FusedDownsampleAttention, attend: Attend) -> None:
        super().__init__()
        self.attend = attend
        self.heads, self.width = source.heads, source.widths[-1]
        self.resolution = source.resolution
        self.packed_key_value = _packed(source.key_value, self.heads, source.widths)
        self.packed_query = _packed(source.query, self.heads, (source.widths[0],), self.width)
        self.activation = source.activation
        self.projection = source.projection
        self.register_buffer("bias", source.bias[None])  # (1, N, Tq, T) here, as an axis added later is an operation

    def forward(self, x: Tensor) -> Tensor:
        heads = self.packed_key_value(x).unflatten(-1, (-1, self.width)).transpose(1, 2)  # (B, 2N, T, V)
        key, value = heads.split(self.heads, dim=1)
        picked = pick_queries(x, self.resolution)  # (B, Tq, C)
        query = self.packed_query(picked).unflatten(-1, (-1, self.width)).transpose(1, 2)  # (B, N, Tq, V)
        projected: Tensor = self.projection(self.activation(self.attend(query, key, value, self.bias)))
        return projected


@torch.no_grad()
def packed_form(fused: Levit, *, operator: bool, spelled_out: Collection[str] = ()) -> Levit:
    """`fused` in this form, attention spelled out or as the `operator` Attention (opset 23); a copy.

    The attentions at the paths `spelled_out` are in any case: float32 has no fused kernel.
    """
    packed = copy.deepcopy(fused).eval()
    for path, module in list(packed.named_modules()):
        chosen = attend_by_operator if operator and path not in spelled_out else attend
        match module:
            case FusedAttention():
                packed.set_submodule(path, PackedAttention(module, chosen))
            case FusedDownsampleAttention():
                packed.set_submodule(path, PackedDownsampleAttention(module, chosen))
    return packed.requires_grad_(requires_grad=False)


@dataclass(frozen=True, slots=True)
class MovedRows:
    """Which layer of the fused network the rows of a packed one are of: row j of `path` is row `places[j]` there."""

    path: str
    places: tuple[int, ...]


def moved_rows(fused: Levit) -> dict[str, MovedRows]:
    """Those of every layer that `packed_form` packs, by its path in the packed form."""
    return dict(_moved_rows(fused))


def _moved_rows(fused: Levit) -> Iterator[tuple[str, MovedRows]]:
    layers: dict[str, tuple[tuple[int, ...], int | None]]
    for path, module in fused.named_modules():
        match module:
            case FusedAttention():
                layers = {"qkv": (module.widths, None)}
            case FusedDownsampleAttention():
                layers = {"key_value": (module.widths, None), "query": (module.widths[:1], module.widths[-1])}
            case _:
                continue
        for name, (widths, width) in layers.items():
            numbered = nn.Linear(1, module.get_submodule(name).out_features)
            numbered.bias.data.copy_(torch.arange(1, numbered.out_features + 1))
            places = _packed(numbered, module.heads, widths, width).bias.argsort()[-numbered.out_features :]
            source = f"{path}.{name}"
            yield packed_path(source), MovedRows(source, tuple(places.tolist()))


@torch.no_grad()
def _packed(source: nn.Linear, heads: int, widths: tuple[int, ...], width: int | None = None) -> nn.Linear:
    """Rows (N, sum of `widths`) of `source` in the order (parts, N, V), each part filled up with zeros.

    V is `width`, or the last and largest of `widths`.
    """
    wide = width or widths[-1]
    packed = nn.Linear(source.in_features, len(widths) * heads * wide, dtype=source.weight.dtype)
    for filled, parameter in ((packed.weight, source.weight), (packed.bias, source.bias)):
        parts = torch.split(torch.unflatten(parameter, 0, (heads, -1)), list(widths), dim=1)
        rows = torch.unflatten(filled.zero_(), 0, (len(widths), heads, wide))
        for number, part in enumerate(parts):
            rows[number, :, : part.shape[1]] = part
    return packed

"""Infer the configuration of a network from the shapes of its tensors."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from levit_deploy.architectures import PATCH_SIZE, STEM_CHANNEL_DIVISORS, VARIANTS, LevitConfig
from levit_deploy.checkpoints.layout import NativeTensors
from levit_deploy.errors import CheckpointError, ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimensions:
    """What tells one LeViT from another."""

    stem_convolutions: int
    embed_dims: tuple[int, ...]
    heads: tuple[int, ...]
    depths: tuple[int, ...]
    key_dims: tuple[int, ...]

    def __str__(self) -> str:
        key_dims = sorted(set(self.key_dims))
        return (
            f"dims {_joined(self.embed_dims)}, heads {_joined(self.heads)}, depths {_joined(self.depths)}, "
            f"key dim {_joined(key_dims)}, {self.stem_convolutions} stem convolutions"
        )


def infer_config(native: NativeTensors) -> LevitConfig:
    """The published variant that `native` is, with its class count, image size and heads."""
    found = _measure(native)
    for config in VARIANTS.values():
        if found == _dimensions_of(config):
            return _with_details(config, native)
    published = "; ".join(f"{arch}: {_dimensions_of(config)}" for arch, config in VARIANTS.items())
    raise CheckpointError(f"is a LeViT with {found}, which is none of the five supported variants ({published})")


def _with_details(config: LevitConfig, native: NativeTensors) -> LevitConfig:
    try:
        return replace(
            config,
            num_classes=_class_count(native),
            image_size=PATCH_SIZE * _first_resolution(native),
            distillation=any(name.startswith("distillation_head.") for name in native.tensors),
        )
    except ConfigError as error:
        raise CheckpointError(f"is a LeViT that is not supported: {error}") from error


def _measure(native: NativeTensors) -> Dimensions:
    stages = _count(r"stages\.(\d{1,3})\.", native.tensors)
    depths = tuple(_count(rf"stages\.{stage}\.blocks\.(\d{{1,3}})\.", native.tensors) for stage in range(stages))
    if not depths or not all(depths):
        raise CheckpointError(f"is a LeViT whose stages have {_joined(depths) or 'no'} blocks; pass a whole network")
    attentions = [f"stages.{stage}.blocks.0.attention" for stage in range(stages)]
    heads = tuple(_size(native, f"{path}.bias.table", 0) for path in attentions)
    return Dimensions(
        stem_convolutions=_count(r"stem\.conv(\d{1,3})\.", native.tensors) - 1,
        embed_dims=tuple(_size(native, f"{path}.qkv.linear.weight", 1) for path in attentions),
        heads=heads,
        depths=depths,
        key_dims=tuple(_key_dim(native, path, count) for path, count in zip(attentions, heads, strict=True)),
    )


def _key_dim(native: NativeTensors, attention: str, heads: int) -> int:
    """Key width: qkv has heads·(2D + V) rows, the projection heads·V columns; that differs by heads·2D."""
    rows = _size(native, f"{attention}.qkv.linear.weight", 0)
    columns = _size(native, f"{attention}.projection.linear.weight", 1)
    return (rows - columns) // (2 * heads) if heads else 0


def _dimensions_of(config: LevitConfig) -> Dimensions:
    return Dimensions(
        stem_convolutions=len(STEM_CHANNEL_DIVISORS),
        embed_dims=config.embed_dims,
        heads=config.heads,
        depths=config.depths,
        key_dims=(config.key_dim,) * len(config.depths),
    )


def _class_count(native: NativeTensors) -> int:
    classes = _size(native, "head.linear.weight", 0)
    if classes < 1:
        raise CheckpointError(f"key {native.file_key('head.linear.weight')!r} has no rows; expected one per class")
    return classes


def _first_resolution(native: NativeTensors) -> int:
    name = "stages.0.blocks.0.attention.bias.table"
    entries = _size(native, name, 1)
    resolution = math.isqrt(entries)
    if entries < 1 or resolution**2 != entries:
        raise CheckpointError(
            f"key {native.file_key(name)!r} has {entries} columns; expected the square of the grid's side, "
            "as only square images are supported"
        )
    return resolution


def _size(native: NativeTensors, name: str, axis: int) -> int:
    shape = native[name].shape
    if len(shape) < 2:
        raise CheckpointError(f"key {native.file_key(name)!r} has shape {tuple(shape)}; expected a matrix")
    return shape[axis]


def _count(pattern: str, names: Iterable[str]) -> int:
    """One more than the largest number that `pattern` finds, 0 if it finds none."""
    numbers = (int(match.group(1)) for name in names if (match := re.match(pattern, name)))
    return max(numbers, default=-1) + 1


def _joined(numbers: Iterable[int]) -> str:
    return "/".join(str(number) for number in numbers)

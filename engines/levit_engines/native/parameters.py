"""The parameters of a fused LeViT in the order in which the library takes them: that of the forward pass."""

from __future__ import annotations

from collections.abc import Iterator

from levit_deploy.architectures import DOWNSAMPLE_VALUE_RATIO, MLP_RATIO, VALUE_RATIO, LevitConfig

KERNEL_SIDE = 3
IMAGE_CHANNELS = 3
PIXELS = {"preprocessing.scale": (IMAGE_CHANNELS, 1, 1), "preprocessing.shift": (IMAGE_CHANNELS, 1, 1)}
"""What a graph that takes pixels has besides; a channel is normalised as pixel * scale + shift."""


def shapes(config: LevitConfig) -> dict[str, tuple[int, ...]]:
    """Every parameter of the fused network by its path; see `levit_deploy.fusion.fuse`."""
    return dict(_parameters(config))


def _parameters(config: LevitConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    inputs = IMAGE_CHANNELS
    for number, outputs in enumerate(config.stem_channels, start=1):
        yield f"stem.conv{number}.weight", (outputs, inputs, KERNEL_SIDE, KERNEL_SIDE)
        yield f"stem.conv{number}.bias", (outputs,)
        inputs = outputs
    for stage, width in enumerate(config.embed_dims):
        tokens = config.resolutions[stage] ** 2
        if stage:
            yield from _downsample(config, stage)
        heads, key_width, value_width = config.heads[stage], config.key_dim, VALUE_RATIO * config.key_dim
        for block in range(config.depths[stage]):
            path = f"stages.{stage}.blocks.{block}"
            yield f"{path}.attention.bias", (heads, tokens, tokens)
            yield from _linear(f"{path}.attention.qkv", width, heads * (2 * key_width + value_width))
            yield from _linear(f"{path}.attention.projection", heads * value_width, width)
            yield from _mlp(path, width)
    yield from _linear("head", config.embed_dims[-1], config.num_classes)


def _downsample(config: LevitConfig, stage: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    before, after = config.embed_dims[stage - 1 : stage + 1]
    keys, queries = (side**2 for side in config.resolutions[stage - 1 : stage + 1])
    heads, value_width = config.downsample_heads(stage), DOWNSAMPLE_VALUE_RATIO * config.key_dim
    path = f"stages.{stage}.downsample"
    yield f"{path}.attention.bias", (heads, queries, keys)
    yield from _linear(f"{path}.attention.key_value", before, heads * (config.key_dim + value_width))
    yield from _linear(f"{path}.attention.query", before, heads * config.key_dim)
    yield from _linear(f"{path}.attention.projection", heads * value_width, after)
    yield from _mlp(path, after)


def _mlp(path: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from _linear(f"{path}.mlp.expand", width, MLP_RATIO * width)
    yield from _linear(f"{path}.mlp.contract", MLP_RATIO * width, width)


def _linear(path: str, inputs: int, outputs: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{path}.weight", (outputs, inputs)
    yield f"{path}.bias", (outputs,)

"""The five LeViT variants: their hyper-parameters, sizes and published figures.

Symbols: C channels of a stage, N heads, D key width of a head (values are 2D wide, 4D in a downsampler),
r side of the token grid, T = r² tokens, K classes.

Source: Graham et al., "LeViT: a Vision Transformer in ConvNet's Clothing for Faster Inference", ICCV 2021,
arXiv 2104.01136, Table 2 (with 16 heads in the second downsampler of LeViT-384, as the code has it).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from levit_deploy.errors import ConfigError

PATCH_SIZE = 16
VALUE_RATIO = 2
DOWNSAMPLE_VALUE_RATIO = 4
MLP_RATIO = 2
STEM_CHANNEL_DIVISORS = (8, 4, 2, 1)
IMAGENET_CLASSES = 1000
# At 768 pixels the constant biases of LeViT-384 take 0.6 GB; a little above, a graph exceeds what protobuf can hold.
MAX_IMAGE_SIZE = 768


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFigures:
    """What the authors report at 224 pixels: ImageNet top-1 and top-5 in percent, and the official file."""

    top1: float
    top5: float
    checkpoint_url: str
    checkpoint_sha256_prefix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LevitConfig:
    """One LeViT network: a published variant with its class count, input side and heads.

    `image_size` is the side of the square input in pixels, a multiple of 16. `distillation` says whether the
    second head is there. Raises ConfigError on a value that no LeViT can have.
    """

    arch: str
    embed_dims: tuple[int, int, int]
    heads: tuple[int, int, int]
    depths: tuple[int, int, int]
    key_dim: int
    drop_path_rate: float = 0.0
    num_classes: int = IMAGENET_CLASSES
    image_size: int = 224
    distillation: bool = True

    def __post_init__(self) -> None:
        if self.image_size < PATCH_SIZE or self.image_size % PATCH_SIZE:
            nearest = max(PATCH_SIZE, round(self.image_size / PATCH_SIZE) * PATCH_SIZE)
            raise ConfigError(
                f"image size {self.image_size} is not a positive multiple of {PATCH_SIZE}: "
                f"the stem halves the image four times; use {nearest}"
            )
        if self.image_size > MAX_IMAGE_SIZE:
            raise ConfigError(
                f"image size {self.image_size} is above {MAX_IMAGE_SIZE}: attention grows with the fourth power of it"
            )
        if self.num_classes < 1:
            raise ConfigError(f"class count {self.num_classes} must be at least 1")
        if not 0.0 <= self.drop_path_rate < 1.0:
            raise ConfigError(f"drop path rate {self.drop_path_rate} must be in [0, 1)")

    @property
    def stem_channels(self) -> tuple[int, ...]:
        """Output channels of the four stem convolutions."""
        return tuple(self.embed_dims[0] // divisor for divisor in STEM_CHANNEL_DIVISORS)

    @property
    def resolutions(self) -> tuple[int, int, int]:
        """Side of the token grid in each stage; a downsampler keeps every second row and column."""
        first = self.image_size // PATCH_SIZE
        second = (first + 1) // 2
        return first, second, (second + 1) // 2

    def downsample_heads(self, stage: int) -> int:
        """Heads of the downsampler that leads into `stage` (1 or 2)."""
        return self.embed_dims[stage - 1] // self.key_dim

    def parameter_count(self) -> int:
        """Trainable parameters, counted from the formulae of the layers, not from a built network."""
        return sum(layer.parameters for layer in _layers(self))

    def mac_count(self) -> int:
        """Multiply-accumulates of one image: every convolution and matrix product, nothing else."""
        return sum(layer.macs for layer in _layers(self))

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {
            "arch": self.arch,
            "embed_dims": list(self.embed_dims),
            "heads": list(self.heads),
            "depths": list(self.depths),
            "key_dim": self.key_dim,
            "num_classes": self.num_classes,
            "image_size": self.image_size,
            "distillation": self.distillation,
        }


@dataclass(frozen=True, slots=True)
class _LayerCost:
    parameters: int
    macs: int


def _normalized_linear(positions: int, inputs: int, outputs: int) -> _LayerCost:
    return _LayerCost(inputs * outputs + 2 * outputs, positions * inputs * outputs)


def _attention_core(heads: int, queries: int, keys: int, key_dim: int, value_dim: int) -> _LayerCost:
    return _LayerCost(heads * keys, heads * queries * keys * (key_dim + value_dim))


def _layers(config: LevitConfig) -> Iterator[_LayerCost]:
    """Every layer with weights, in the order of the forward pass."""
    side, channels = config.image_size, 3
    for out in config.stem_channels:
        side //= 2
        yield _LayerCost(9 * channels * out + 2 * out, side * side * 9 * channels * out)
        channels = out
    for stage, (dim, heads, depth) in enumerate(zip(config.embed_dims, config.heads, config.depths, strict=True)):
        tokens = config.resolutions[stage] ** 2
        if stage:
            yield from _downsample_layers(config, stage)
        key_dim, value_dim = config.key_dim, VALUE_RATIO * config.key_dim
        for _ in range(depth):
            yield _normalized_linear(tokens, dim, heads * (2 * key_dim + value_dim))
            yield _attention_core(heads, tokens, tokens, key_dim, value_dim)
            yield _normalized_linear(tokens, heads * value_dim, dim)
            yield from _mlp_layers(tokens, dim)
    for _ in range(1 + config.distillation):
        inputs, outputs = config.embed_dims[-1], config.num_classes
        yield _LayerCost(2 * inputs + inputs * outputs + outputs, inputs * outputs)


def _downsample_layers(config: LevitConfig, stage: int) -> Iterator[_LayerCost]:
    before, after = config.embed_dims[stage - 1 : stage + 1]
    keys, queries = (resolution**2 for resolution in config.resolutions[stage - 1 : stage + 1])
    heads, key_dim = config.downsample_heads(stage), config.key_dim
    value_dim = DOWNSAMPLE_VALUE_RATIO * key_dim
    yield _normalized_linear(keys, before, heads * (key_dim + value_dim))
    yield _normalized_linear(queries, before, heads * key_dim)
    yield _attention_core(heads, queries, keys, key_dim, value_dim)
    yield _normalized_linear(queries, heads * value_dim, after)
    yield from _mlp_layers(queries, after)


def _mlp_layers(tokens: int, dim: int) -> Iterator[_LayerCost]:
    yield _normalized_linear(tokens, dim, MLP_RATIO * dim)
    yield _normalized_linear(tokens, MLP_RATIO * dim, dim)


VARIANTS: Mapping[str, LevitConfig] = MappingProxyType(
    {
        config.arch: config
        for config in (
            LevitConfig(arch="128S", embed_dims=(128, 256, 384), heads=(4, 6, 8), depths=(2, 3, 4), key_dim=16),
            LevitConfig(arch="128", embed_dims=(128, 256, 384), heads=(4, 8, 12), depths=(4, 4, 4), key_dim=16),
            LevitConfig(arch="192", embed_dims=(192, 288, 384), heads=(3, 5, 6), depths=(4, 4, 4), key_dim=32),
            LevitConfig(arch="256", embed_dims=(256, 384, 512), heads=(4, 6, 8), depths=(4, 4, 4), key_dim=32),
            LevitConfig(
                arch="384",
                embed_dims=(384, 512, 768),
                heads=(6, 9, 12),
                depths=(4, 4, 4),
                key_dim=32,
                drop_path_rate=0.1,
            ),
        )
    }
)


def _official_file(arch: str, top1: float, top5: float, sha256_prefix: str) -> PublishedFigures:
    # The suffix of the official file names is the start of their sha256, as torch.hub checks it.
    return PublishedFigures(
        top1=top1,
        top5=top5,
        checkpoint_url=f"https://dl.fbaipublicfiles.com/LeViT/LeViT-{arch}-{sha256_prefix}.pth",
        checkpoint_sha256_prefix=sha256_prefix,
    )


PUBLISHED: Mapping[str, PublishedFigures] = MappingProxyType(
    {
        "128S": _official_file("128S", 76.6, 92.9, "96703c44"),
        "128": _official_file("128", 78.6, 94.0, "b88c2750"),
        "192": _official_file("192", 80.0, 94.7, "92712e41"),
        "256": _official_file("256", 81.6, 95.4, "13b5763e"),
        "384": _official_file("384", 82.6, 96.0, "9bdaf2e2"),
    }
)


def config_for(arch: str, **changes: Any) -> LevitConfig:
    """The published variant named `arch` ("384", "levit-128s", …), with `changes` to its fields.

    Raises ConfigError, listing the choices, when there is no such variant.
    """
    name = arch.strip().upper().removeprefix("LEVIT").lstrip("-_ ")
    if name not in VARIANTS:
        raise ConfigError(f"unknown architecture {arch!r}: choose from {', '.join(VARIANTS)}")
    return replace(VARIANTS[name], **changes)

"""Where the network is probed: its intermediate values in order of execution, each under the module that makes it.

The same list holds for every form of the network (eager, fused, ONNX on a grid or on tokens, an engine's), so that
two of them can be compared value by value. Values are those of the fused network: queries are scaled, the logits are
the mean of both heads.

Letters: B batch, T tokens or grid positions, C channels, N heads, Tq query positions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from levit_deploy.architectures import LevitConfig

ROOT_PATH = "levit"
INPUT_PATH = "preprocessing"
LEAST_SAMPLES = 512
GOLDEN_RATIO = 0.6180339887498949

Values = TypeVar("Values")


class Role(str, Enum):
    """Which value of a module is probed; the text is what follows the module's path in the probe's name."""

    OUTPUT = ""
    TOKENS = "tokens"
    PICKED_TOKENS = "picked tokens"
    SCORES = "scores"
    BIASED_SCORES = "biased scores"
    WEIGHTS = "attention weights"
    MIXED_VALUES = "mixed values"
    ATTENTION_SUM = "sum with attention"
    POOLED = "pooled features"


MATRICES = frozenset({Role.SCORES, Role.BIASED_SCORES, Role.WEIGHTS})


@dataclass(frozen=True, slots=True)
class Probe:
    """One intermediate value: the PyTorch path of the module whose code computes it, and which of its values."""

    path: str
    role: Role = Role.OUTPUT

    @property
    def name(self) -> str:
        """`stages.0.blocks.1.attention.qkv`, or `stages.0.blocks.1.attention:scores` for a value inside a module."""
        return f"{self.path}:{self.role.value}" if self.role.value else self.path

    @property
    def module(self) -> str:
        """The module to look at when this is the first wrong value."""
        return f"{self.path}.bias" if self.role is Role.BIASED_SCORES else self.path


def probes_of(config: LevitConfig) -> tuple[Probe, ...]:
    """All probes of a network in order of execution, from the normalised images to the head, which gives the logits."""
    return tuple(_probes(config))


def _probes(config: LevitConfig) -> Iterator[Probe]:
    yield Probe(INPUT_PATH)
    for number in range(1, len(config.stem_channels) + 1):
        if number > 1:
            yield Probe(f"stem.activation{number - 1}")
        yield Probe(f"stem.conv{number}")
    yield Probe(ROOT_PATH, Role.TOKENS)
    for stage, depth in enumerate(config.depths):
        if stage:
            yield from _downsample_probes(f"stages.{stage}.downsample")
        for block in range(depth):
            yield from _block_probes(f"stages.{stage}.blocks.{block}")
    yield Probe(ROOT_PATH, Role.POOLED)
    yield Probe("head")


def _downsample_probes(path: str) -> Iterator[Probe]:
    attention = f"{path}.attention"
    yield Probe(f"{attention}.key_value")
    yield Probe(attention, Role.PICKED_TOKENS)
    yield Probe(f"{attention}.query")
    yield from _attend_probes(attention)
    yield from _mlp_probes(f"{path}.mlp")
    yield Probe(path)


def _block_probes(path: str) -> Iterator[Probe]:
    yield Probe(f"{path}.attention.qkv")
    yield from _attend_probes(f"{path}.attention")
    yield Probe(path, Role.ATTENTION_SUM)
    yield from _mlp_probes(f"{path}.mlp")
    yield Probe(path)


def _attend_probes(path: str) -> Iterator[Probe]:
    for role in (Role.SCORES, Role.BIASED_SCORES, Role.WEIGHTS, Role.MIXED_VALUES):
        yield Probe(path, role)
    yield Probe(f"{path}.activation")
    yield Probe(f"{path}.projection")


def _mlp_probes(path: str) -> Iterator[Probe]:
    for layer in ("expand", "activation", "contract"):
        yield Probe(f"{path}.{layer}")


def sample(values: Values, probe: Probe) -> Values:
    """Some values of each image, the same ones in every form: a NumPy array or a tensor (B, ...) -> (B, samples).

    Every channel is sampled at least once and there are at least 512 samples, or all values where there are fewer.
    Takes (B, C), (B, T, C), (B, C, H, W), and for attention matrices (B, N, Tq, T). Of biased scores all those of the
    first query are sampled too: it stands in a corner, so that its keys are at every distance that has a bias.
    """
    shape = values.shape  # type: ignore[attr-defined]
    channels_first = len(shape) == 4 and probe.role not in MATRICES
    channels = shape[1] if channels_first else shape[-1]
    positions = math.prod(shape[1:]) // max(channels, 1)
    position, channel = sampled_places(positions, channels)
    if probe.role is Role.BIASED_SCORES and len(shape) == 4:
        first_query = np.arange(shape[1]) * shape[2]
        position = np.concatenate([position, np.repeat(first_query, channels)])
        channel = np.concatenate([channel, np.tile(np.arange(channels), shape[1])])
    if channels_first:
        return values.reshape(shape[0], channels, positions)[:, channel, position]  # type: ignore[attr-defined, no-any-return]
    return values.reshape(shape[0], positions, channels)[:, position, channel]  # type: ignore[attr-defined, no-any-return]


def sampled_places(positions: int, channels: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which (position, channel) pairs are sampled: channels in turn, positions spread by a golden-ratio stride.

    No pair comes twice: after lcm(positions, channels) of them, where they would repeat, positions move on by one.
    """
    count = min(positions * channels, max(channels, LEAST_SAMPLES))
    number = np.arange(count, dtype=np.int64)
    stride = max(1, round(GOLDEN_RATIO * positions))
    while math.gcd(stride, positions) > 1:
        stride += 1
    return (number * stride + number // math.lcm(positions, channels)) % positions, number % channels

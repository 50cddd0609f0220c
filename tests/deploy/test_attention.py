"""Attention against plain loops in float64, and its distances against the numbering of the authors."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from levit_deploy.model import Attention, DownsampleAttention, LinearNorm, offset_index

HEADS, KEY_DIM, DIM, OUT_DIM = 2, 4, 6, 10

Row = list[float]


def randomized(module: Attention | DownsampleAttention) -> Attention | DownsampleAttention:
    torch.manual_seed(0)
    module.double().eval()
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor.normal_()
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm1d) and layer.running_var is not None:
                layer.running_var.uniform_(0.1, 2.0)
    return module


def linear_norm(layer: LinearNorm, row: Row) -> Row:
    """One token through the layer, one number at a time."""
    weight, norm = layer.linear.weight.tolist(), layer.norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    mean, variance = norm.running_mean.tolist(), norm.running_var.tolist()
    gain, shift = norm.weight.tolist(), norm.bias.tolist()
    sums = [math.fsum(w * x for w, x in zip(weights, row, strict=True)) for weights in weight]
    return [
        gain[c] * (y - mean[c]) / math.sqrt(variance[c] + 1e-5) + shift[c]
        for c, y in enumerate(sums)
    ]  # fmt: skip


def hardswish(x: float) -> float:
    return x * min(max(x + 3, 0), 6) / 6


def attended(scores: Row, values: list[Row]) -> Row:
    weights = [math.exp(score) for score in scores]
    channels = zip(*values, strict=True)
    return [math.fsum(w * v for w, v in zip(weights, c, strict=True)) / math.fsum(weights) for c in channels]


def score(query: Row, key: Row, table: Row, r: int, at: tuple[int, int], other: tuple[int, int]) -> float:
    product = math.fsum(q * k for q, k in zip(query, key, strict=True)) / math.sqrt(KEY_DIM)
    return product + table[abs(at[0] - other[0]) * r + abs(at[1] - other[1])]


def looped_attention(module: Attention, tokens: list[Row], r: int) -> list[Row]:
    cells = list(itertools.product(range(r), repeat=2))
    rows, table, width = [linear_norm(module.qkv, token) for token in tokens], module.bias.table.tolist(), 4 * KEY_DIM
    outputs = []
    for i, cell in enumerate(cells):
        mixed: Row = []
        for head in range(HEADS):
            mine = [row[head * width : (head + 1) * width] for row in rows]  # q, k, v of this head side by side
            query, keys = mine[i][:KEY_DIM], [row[KEY_DIM : 2 * KEY_DIM] for row in mine]
            scores = [score(query, keys[j], table[head], r, cell, other) for j, other in enumerate(cells)]
            mixed += attended(scores, [row[2 * KEY_DIM :] for row in mine])
        outputs.append(linear_norm(module.projection, [hardswish(x) for x in mixed]))
    return outputs


def looped_downsample(module: DownsampleAttention, tokens: list[Row], r: int) -> list[Row]:
    cells = list(itertools.product(range(r), repeat=2))
    rows, table = [linear_norm(module.key_value, token) for token in tokens], module.bias.table.tolist()
    outputs, width = [], 5 * KEY_DIM
    for i, cell in enumerate(cells):
        if cell[0] % 2 or cell[1] % 2:
            continue
        queries, mixed = linear_norm(module.query, tokens[i]), []
        for head in range(HEADS):
            mine = [row[head * width : (head + 1) * width] for row in rows]
            query = queries[head * KEY_DIM : (head + 1) * KEY_DIM]
            scores = [score(query, mine[j][:KEY_DIM], table[head], r, cell, other) for j, other in enumerate(cells)]
            mixed += attended(scores, [row[KEY_DIM:] for row in mine])
        outputs.append(linear_norm(module.projection, [hardswish(x) for x in mixed]))
    return outputs


@pytest.mark.parametrize("resolution", [1, 3, 4])
def test_attention_equals_loops(resolution: int) -> None:
    module = randomized(Attention(DIM, HEADS, KEY_DIM, resolution))
    assert isinstance(module, Attention)
    tokens = torch.randn(2, resolution**2, DIM, dtype=torch.float64)
    assert_close(module(tokens), [looped_attention(module, image, resolution) for image in tokens.tolist()])
    assert module(tokens).shape == (2, resolution**2, DIM)


@pytest.mark.parametrize("resolution", [1, 3, 4])
def test_downsampling_attention_equals_loops(resolution: int) -> None:
    module = randomized(DownsampleAttention(DIM, OUT_DIM, HEADS, KEY_DIM, resolution))
    assert isinstance(module, DownsampleAttention)
    tokens = torch.randn(2, resolution**2, DIM, dtype=torch.float64)
    assert_close(module(tokens), [looped_downsample(module, image, resolution) for image in tokens.tolist()])
    assert module(tokens).shape == (2, math.ceil(resolution / 2) ** 2, OUT_DIM)


def test_loops_notice_a_swapped_distance() -> None:
    """The negative control of the two tests above."""
    module = randomized(Attention(DIM, HEADS, KEY_DIM, 3))
    assert isinstance(module, Attention)
    tokens = torch.randn(1, 9, DIM, dtype=torch.float64)
    expected = [looped_attention(module, tokens[0].tolist(), 3)]
    with torch.no_grad():
        module.bias.table.copy_(module.bias.table.unflatten(1, (3, 3)).transpose(1, 2).flatten(1))
    with pytest.raises(AssertionError, match="not close"):
        assert_close(module(tokens), expected)


def assert_close(actual: Tensor, expected: list[list[Row]]) -> None:
    torch.testing.assert_close(actual, torch.tensor(expected, dtype=torch.float64), rtol=1e-10, atol=1e-11)


def numbered_as_met(resolution: int, stride: int) -> list[list[int]]:
    """The authors' construction: walk over (query, key) and number each new distance when it first appears."""
    keys = list(itertools.product(range(resolution), range(resolution)))
    queries = list(itertools.product(range((resolution - 1) // stride + 1), repeat=2))
    numbers: dict[tuple[int, int], int] = {}
    rows = []
    for qy, qx in queries:
        distances = [(abs(qy * stride - ky), abs(qx * stride - kx)) for ky, kx in keys]
        rows.append([numbers.setdefault(distance, len(numbers)) for distance in distances])
    assert len(numbers) == resolution**2
    return rows


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("resolution", range(1, 15))
def test_offset_index_equals_the_walk_of_the_authors(resolution: int, stride: int) -> None:
    index = offset_index(resolution, stride)
    assert index.dtype == torch.int64
    assert index.tolist() == numbered_as_met(resolution, stride)

"""Attention biases at another image size."""

from __future__ import annotations

import pytest
import torch

from levit_deploy.checkpoints import load_checkpoint
from levit_deploy.checkpoints.interpolation import resize_bias_table
from levit_deploy.errors import ConfigError


def test_same_resolution_changes_nothing():
    table = torch.randn(3, 49, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(resize_bias_table(table, 7), table, rtol=0, atol=1e-6)


@pytest.mark.parametrize("resolution", [1, 2, 5, 10, 14, 24])
def test_corners_stay(resolution):
    table = torch.randn(3, 49, generator=torch.Generator().manual_seed(0))
    grid = resize_bias_table(table, resolution).unflatten(1, (resolution, resolution))
    before = table.unflatten(1, (7, 7))
    torch.testing.assert_close(grid[:, 0, 0], before[:, 0, 0])
    if resolution > 1:
        torch.testing.assert_close(grid[:, 0, -1], before[:, 0, -1])
        torch.testing.assert_close(grid[:, -1, 0], before[:, -1, 0])


def test_rows_and_columns_are_not_mixed_up():
    rows = torch.arange(6.0).repeat_interleave(6)[None]  # the bias is |dy|
    grid = resize_bias_table(rows, 11).unflatten(1, (11, 11))[0]
    assert torch.allclose(grid.std(dim=1), torch.zeros(11), atol=1e-5)
    assert (grid[1:, 0] > grid[:-1, 0]).all()


@pytest.mark.parametrize("image_size", [32, 160, 112, 240])
def test_loading_at_another_size(image_size, small, writers, saved):
    checkpoint = load_checkpoint(saved(writers["official"](small)), image_size=image_size)
    model = checkpoint.model
    assert model.config.image_size == image_size
    assert len(checkpoint.notes) == 1
    for part in ("interpolated from 96 to", f"{image_size} pixels", "fine-tune"):
        assert part in checkpoint.notes[0]
    with torch.no_grad():
        assert model(torch.zeros(1, 3, image_size, image_size)).isfinite().all()
    path = "stages.1.downsample.attention.bias.table"
    expected = resize_bias_table(small.state_dict()[path], model.config.resolutions[0])
    assert torch.equal(model.state_dict()[path], expected)
    weights = "stages.2.blocks.0.attention.qkv.linear.weight"
    assert torch.equal(model.state_dict()[weights], small.state_dict()[weights])


def test_there_and_back_is_close_for_a_smooth_table():
    distance = torch.cartesian_prod(torch.arange(7.0), torch.arange(7.0)).norm(dim=1)[None]
    back = resize_bias_table(resize_bias_table(distance, 13), 7)
    assert (back - distance).abs().max() < 0.05


@pytest.mark.parametrize("image_size", [0, 100, -16])
def test_impossible_size_is_a_usage_error(image_size, tmp_path):
    with pytest.raises(ConfigError, match="multiple of 16"):
        load_checkpoint(tmp_path / "not-even-read.pth", image_size=image_size)

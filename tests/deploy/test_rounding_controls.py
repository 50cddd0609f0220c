"""One wrong detail anywhere exceeds the rounding bound: the negative controls of test_rounding.py."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from rounding_helpers import golden, logits_and_bounds, random_images, random_model, rung_of
from torch import nn

from levit_deploy.errors import ParityError
from levit_deploy.model import Attention, BiasTable, ConvNorm, Levit, LinearNorm


def weights_through_bfloat16(model: Levit) -> None:
    for parameter in model.parameters():
        parameter.copy_(parameter.bfloat16())


def epsilon_off_by_a_tenth(model: Levit) -> None:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.eps = 1.1e-5


def rows_and_columns_swapped(model: Levit) -> None:
    for module in model.modules():
        if isinstance(module, BiasTable):
            side = round(module.table.shape[1] ** 0.5)
            module.table.copy_(module.table.unflatten(1, (side, side)).transpose(1, 2).flatten(1))


def queries_and_keys_swapped(model: Levit) -> None:
    for module in model.modules():
        if isinstance(module, Attention):
            order = torch.arange(module.qkv.linear.weight.shape[0]).reshape(module.heads, 4, module.key_dim)
            order = order[:, [1, 0, 2, 3]].flatten()
            for tensor in (module.qkv.linear.weight, *module.qkv.norm.parameters(), *module.qkv.norm.buffers()):
                if tensor.ndim:
                    tensor.copy_(tensor[order])


def one_bias_table_zeroed(model: Levit) -> None:
    model.get_parameter("stages.0.blocks.1.attention.bias.table").zero_()


def one_downsampling_table_zeroed(model: Levit) -> None:
    model.get_parameter("stages.1.downsample.attention.bias.table").zero_()


def one_channel_a_thousandth_larger(model: Levit) -> None:
    # Most channels of most layers would do; single rows of a qkv, of which a softmax sees little, would not.
    layer = model.get_submodule("stages.0.blocks.0.attention.projection")
    assert isinstance(layer, LinearNorm)
    layer.linear.weight[3] *= 1.001


def one_stem_channel_a_thousandth_larger(model: Levit) -> None:
    layer = model.get_submodule("stem.conv4")
    assert isinstance(layer, ConvNorm)
    layer.linear.weight[3] *= 1.001


@pytest.mark.parametrize(
    "mistake",
    [
        weights_through_bfloat16,
        epsilon_off_by_a_tenth,
        rows_and_columns_swapped,
        queries_and_keys_swapped,
        one_bias_table_zeroed,
        one_downsampling_table_zeroed,
        one_channel_a_thousandth_larger,
        one_stem_channel_a_thousandth_larger,
    ],
    ids=lambda mistake: mistake.__name__,
)
def test_one_wrong_detail_exceeds_the_bound(mistake: Callable[[Levit], None]) -> None:
    model, images = random_model("128S", 64), golden(64)
    truth = logits_and_bounds(model, images)
    rung_of(model, images, truth).require()
    wrong = copy.deepcopy(model)
    with torch.no_grad():
        mistake(wrong)
    rung = rung_of(wrong, images, truth)
    assert not rung
    assert rung.bound_share > 3


def test_weights_that_are_not_numbers_give_a_failing_rung() -> None:
    model, images = copy.deepcopy(random_model("128S", 64)), random_images(64, 2)
    with torch.no_grad():
        model.get_parameter("stages.0.blocks.0.mlp.expand.linear.weight")[0, 0] = torch.nan
    sound = logits_and_bounds(random_model("128S", 64), images)
    for truth in (sound, logits_and_bounds(model, images)):
        rung = rung_of(model, images, truth)
        assert not rung
        with pytest.raises(ParityError):
            rung.require()

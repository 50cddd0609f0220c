"""Wrong foldings exceed the rounding bound, and a half-folded model does not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from levit_deploy.fusion import fold_convolution, fold_linear, fuse
from levit_deploy.initialization import randomize, sample_images
from levit_deploy.model import ConvNorm, Levit, LinearNorm, NormLinear, create_model, remove_norm
from levit_deploy.parity import Rung, compare_logits
from levit_deploy.rounding import logit_bounds

SIDE = 64


@cache
def random_model() -> Levit:
    """Float32, in evaluation; shared, so no test may change it."""
    model = create_model("128S", image_size=SIDE, num_classes=20)
    randomize(model, seed=0)
    return model.eval()


@cache
def truth() -> tuple[Tensor, Tensor, tuple[float, ...]]:
    """Images, float64 eager logits and how far rounding may move them."""
    images = sample_images(6, SIDE, torch.Generator().manual_seed(7))
    reference = copy.deepcopy(random_model()).double()
    with torch.no_grad():
        logits = reference(images)
    return images, logits, tuple(logit_bounds(reference, images, logits).tolist())


def rung_of(fused: nn.Module) -> Rung:
    images, logits, bounds = truth()
    with torch.no_grad():
        candidate = fused(images.float())
    comparison = compare_logits(logits.numpy(), candidate.numpy())
    return Rung(
        stage="fused", batch_size=len(images), images=tuple(range(len(bounds))), comparison=comparison, bounds=bounds
    )


def flip_sign(fused: Levit) -> None:
    weight = fused.get_parameter("stages.1.blocks.0.mlp.expand.weight")
    weight[0, weight[0].abs().argmax()] *= -1


def flip_stem_sign(fused: Levit) -> None:
    weight = fused.get_parameter("stem.conv1.weight").flatten()
    weight[weight.abs().argmax()] *= -1


def forget_scale(fused: Levit) -> None:
    attention = fused.get_submodule("stages.0.blocks.1.attention")
    for tensor in (attention.qkv.weight, attention.qkv.bias):
        tensor.unflatten(0, (4, 64))[:, :16] *= 4  # q | k | v of 16, 16 and 32 channels in each of 4 heads


def forget_downsample_scale(fused: Levit) -> None:
    query = fused.get_submodule("stages.1.downsample.attention.query")
    query.weight *= 4
    query.bias *= 4


def drop_bias(fused: Levit) -> None:
    fused.get_buffer("stages.1.downsample.attention.bias").zero_()


def stale_mean(model: Levit) -> None:
    model.get_buffer("stages.2.blocks.0.mlp.expand.norm.running_mean")[0] = 0


def stale_variance(model: Levit) -> None:
    model.get_buffer("stem.conv3.norm.running_var")[1] = 1


def wrong_eps(model: Levit) -> None:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.eps = 1.1e-5


def wrong_head_eps(model: Levit) -> None:
    assert isinstance(model.head, NormLinear)
    model.head.norm.eps = 1e-3


def only_first_head(model: Levit) -> None:
    model.distillation_head = None


@pytest.mark.parametrize(
    "mistake",
    [flip_sign, flip_stem_sign, forget_scale, forget_downsample_scale, drop_bias],
    ids=lambda mistake: mistake.__name__,
)
def test_mistake_in_the_fused_model_exceeds_the_bound(mistake: Callable[[Levit], None]) -> None:
    fused = fuse(random_model())
    rung_of(fused).require()
    with torch.no_grad():
        mistake(fused)
    assert rung_of(fused).bound_share > 10


@pytest.mark.parametrize(
    "mistake",
    [stale_mean, stale_variance, wrong_eps, wrong_head_eps, only_first_head],
    ids=lambda mistake: mistake.__name__,
)
def test_folding_the_wrong_thing_exceeds_the_bound(mistake: Callable[[Levit], None]) -> None:
    model = copy.deepcopy(random_model())
    mistake(model)
    assert rung_of(fuse(model)).bound_share > 10


@torch.no_grad()
def test_half_folded_model_is_the_same_function() -> None:
    model = copy.deepcopy(random_model())
    for path in ("stem.conv2", "stages.0.blocks.0.attention.qkv", "stages.1.downsample.attention.query"):
        layer = model.get_submodule(path)
        assert isinstance(layer, ConvNorm | LinearNorm)
        folded = fold_convolution(layer) if isinstance(layer, ConvNorm) else fold_linear(layer)
        remove_norm(layer)
        layer.linear.load_state_dict(folded.state_dict())
    rung_of(model).require()
    rung_of(fuse(model)).require()

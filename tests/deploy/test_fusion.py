"""Folding changes nothing but rounding, whatever the statistics; wrong foldings are told apart."""

from __future__ import annotations

import copy
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from levit_deploy.fusion import FusedAttention, fold_convolution, fold_heads, fold_linear, fuse
from levit_deploy.initialization import randomize, sample_images
from levit_deploy.model import BiasTable, ConvNorm, Levit, LinearNorm, NormLinear, create_model
from levit_deploy.parity import Rung, compare_logits
from levit_deploy.rounding import logit_bounds

ARCHS = ("128S", "128", "192", "256", "384")
SIDE = 48
SEEDS = st.integers(0, 2**32 - 1)
DECADES = st.tuples(st.integers(-12, 6), st.integers(0, 6))  # of the variances: the lowest, and how many more

Layer = ConvNorm | LinearNorm | NormLinear


@cache
def random_model(arch: str = "128S") -> Levit:
    """Float32, in evaluation; shared, so no test may change it."""
    model = create_model(arch, image_size=SIDE, num_classes=20)
    randomize(model, seed=0)
    return model.eval()


@cache
def truth(arch: str = "128S") -> tuple[Tensor, Tensor, tuple[float, ...]]:
    """Images, float64 eager logits and how far rounding may move them."""
    images = sample_images(6, SIDE, torch.Generator().manual_seed(7))
    reference = copy.deepcopy(random_model(arch)).double()
    with torch.no_grad():
        logits = reference(images)
    return images, logits, tuple(logit_bounds(reference, images, logits).tolist())


def rung_of(fused: nn.Module, arch: str = "128S") -> Rung:
    images, logits, bounds = truth(arch)
    with torch.no_grad():
        candidate = fused(images.float())
    comparison = compare_logits(logits.numpy(), candidate.numpy())
    return Rung(
        stage="fused", batch_size=len(images), images=tuple(range(len(bounds))), comparison=comparison, bounds=bounds
    )


@torch.no_grad()
def draw_statistics(module: nn.Module, seed: int, decades: tuple[int, int]) -> None:
    """Any statistics a normalisation may have: variances over many decades, gains of both signs and zero."""
    generator = torch.Generator().manual_seed(seed)
    low, count = decades
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            uniform = torch.rand(norm.num_features, generator=generator, dtype=torch.float64)
            norm.running_var.copy_(10 ** (low + count * uniform))
            norm.running_mean.normal_(0, 3, generator=generator)
            norm.weight.normal_(0, 1, generator=generator)
            norm.weight[::5] = 0
            norm.bias.normal_(0, 2, generator=generator)


@pytest.mark.parametrize("kind", ["ConvNorm", "LinearNorm", "NormLinear"])
@given(seed=SEEDS, decades=DECADES)
@settings(deadline=None, max_examples=40)
def test_folding_a_layer_equals_not_folding(kind: str, seed: int, decades: tuple[int, int]) -> None:
    layers = {"ConvNorm": ConvNorm, "LinearNorm": LinearNorm, "NormLinear": NormLinear}
    shapes = {"ConvNorm": (2, 6, 5, 5), "LinearNorm": (2, 3, 6), "NormLinear": (4, 6)}
    layer: Layer = layers[kind](6, 9).double().eval()
    draw_statistics(layer, seed, decades)
    x = torch.randn(shapes[kind], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    with torch.no_grad():
        folded = fold_any(layer)
        expected, actual = layer(x), folded(x)
    assert isinstance(folded, nn.Conv2d | nn.Linear)
    assert (actual - expected).norm() <= 1e-9 * expected.norm()


@torch.no_grad()
def fold_any(layer: Layer) -> nn.Linear | nn.Conv2d:
    match layer:
        case ConvNorm():
            return fold_convolution(layer)
        case LinearNorm():
            return fold_linear(layer)
        case _:
            return fold_heads([layer])


@given(seed=SEEDS, decades=st.tuples(st.integers(-2, 3), st.integers(0, 3)))
@settings(deadline=None, max_examples=6)
def test_fusing_a_model_equals_not_fusing(seed: int, decades: tuple[int, int]) -> None:
    model = create_model("128S", image_size=32, num_classes=5).double().eval()
    draw_statistics(model, seed, decades)
    images = sample_images(2, 32, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        expected, actual = model(images), fuse(model)(images)
    assert (actual - expected).norm() <= 1e-9 * expected.norm()


@pytest.mark.parametrize("arch", ARCHS)
def test_fused_float32_stays_within_rounding_of_float64(arch: str) -> None:
    rung = rung_of(fuse(random_model(arch)), arch)
    rung.require()
    assert rung.bound_share > 0.01  # the bound is one of this network, not any large number
    assert rung.comparison.max_abs_error < 1e-3 * truth(arch)[1].std()


@pytest.mark.parametrize("distillation", [True, False], ids=["two-heads", "one-head"])
@pytest.mark.parametrize("arch", ARCHS)
def test_nothing_normalises_afterwards_and_linear_layers_keep_their_paths(arch: str, distillation: bool) -> None:
    model = create_model(arch, image_size=32, num_classes=3, distillation=distillation)
    fused = fuse(model)
    layers = {name for name, module in model.named_modules() if isinstance(module, ConvNorm | LinearNorm)}
    linear = {name for name, module in fused.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}
    assert linear == layers | {"head"}
    assert not [m for m in fused.modules() if isinstance(m, nn.modules.batchnorm._NormBase | BiasTable)]
    assert isinstance(fused.head, nn.Linear)
    assert fused.distillation_head is None
    tables = {name for name, module in model.named_modules() if isinstance(module, BiasTable)}
    assert {name for name, _ in fused.named_buffers()} == tables
    assert not fused.training
    assert not any(parameter.requires_grad for parameter in fused.parameters())


def test_scale_and_biases_are_constants_of_the_fused_attention() -> None:
    model, fused = random_model(), fuse(random_model())
    for path in ("stages.0.blocks.0.attention", "stages.1.downsample.attention"):
        source, target = model.get_submodule(path), fused.get_submodule(path)
        assert not hasattr(target, "scale")
        assert torch.equal(target.get_buffer("bias"), source.bias())
        layer = source.qkv if isinstance(target, FusedAttention) else source.query
        rows = fold_any(layer).weight.unflatten(0, (source.heads, -1))  # (N, channels of a head, C)
        scaled = (target.qkv if isinstance(target, FusedAttention) else target.query).weight.unflatten(
            0, (source.heads, -1)
        )
        torch.testing.assert_close(scaled[:, : source.key_dim], rows[:, : source.key_dim] * 0.25)
        assert torch.equal(scaled[:, source.key_dim :], rows[:, source.key_dim :])


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_the_argument_is_left_untouched(training: bool) -> None:
    model = copy.deepcopy(random_model()).train(training)
    before, flags = copy.deepcopy(model.state_dict()), [module.training for module in model.modules()]
    fused = fuse(model)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert [module.training for module in model.modules()] == flags
    assert all(parameter.requires_grad for parameter in model.parameters())
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    for tensor in (*fused.parameters(), *fused.buffers()):
        assert tensor.untyped_storage().data_ptr() not in own
        assert tensor.dtype == torch.float32

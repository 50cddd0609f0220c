"""The rounding bound holds everywhere it should, is not loose, and one wrong detail anywhere exceeds it."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from rounding_helpers import SIDES, golden, logits_and_bounds, random_images, random_model, rung_of
from torch import Tensor, nn

from levit_deploy.arithmetic import FLOAT32_UNIT_ROUNDOFF, FP32, Arithmetic
from levit_deploy.fusion import fuse
from levit_deploy.initialization import sample_images
from levit_deploy.parity import Rung
from levit_deploy.rounding import logit_bounds, rounding_noise


def shares(rung: Rung) -> np.ndarray:
    return np.array(rung.comparison.max_abs_errors) / np.array(rung.bounds)


@pytest.mark.parametrize("kind", ["golden", "random"])
@pytest.mark.parametrize("arch", SIDES)
def test_bound_holds_and_is_tight(arch: str, kind: str) -> None:
    model = random_model(arch, SIDES[arch])
    images = golden(SIDES[arch]) if kind == "golden" else random_images(SIDES[arch], 8)
    truth = logits_and_bounds(model, images)
    for form, candidate in (("eager", model), ("fused", fuse(model))):
        rung = rung_of(candidate, images, truth)
        rung.require()
        assert shares(rung).min() > 0.01, f"{form}: the bound says nothing"


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_bound_holds_for_many_images_and_weights(seed: int) -> None:
    model, images = random_model("128S", 64, seed=seed), random_images(64, 200, seed)
    truth = logits_and_bounds(model, images)
    for form, candidate in (("eager", model), ("fused", fuse(model))):
        rung = rung_of(candidate, images, truth)
        rung.require()
        assert shares(rung).min() > 0.01, f"{form}: the bound says nothing"


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_bound_holds_for_few_classes(classes: int) -> None:
    model, images = random_model("128S", 32, classes), random_images(32, 16)
    truth = logits_and_bounds(model, images)
    for candidate in (model, fuse(model)):
        rung = rung_of(candidate, images, truth)
        rung.require()
        assert rung.bound_share > 0.01  # a single logit may well be right by chance, but not all of them


def test_bound_depends_on_the_seed_alone() -> None:
    model, images = copy.deepcopy(random_model("128S", 64)).double(), random_images(64, 3)
    with torch.no_grad():
        logits = model(images)
    torch.manual_seed(1)
    first = logit_bounds(model, images, logits, noise=rounding_noise(FP32, 5))
    torch.manual_seed(2)
    np.testing.assert_array_equal(logit_bounds(model, images, logits, noise=rounding_noise(FP32, 5)), first)
    other = logit_bounds(model, images, logits, noise=rounding_noise(FP32, 6))
    assert (other != first).all()
    np.testing.assert_allclose(other, first, rtol=0.5)
    assert first.dtype == np.float64
    assert first.shape == (3,)
    assert (first > 0).all()


@pytest.mark.parametrize("factor", [2.0**-10, 0.5, 2.0, 64.0])
def test_bound_is_proportional_to_the_unit_roundoff(factor: float) -> None:
    model, images = copy.deepcopy(random_model("128S", 64)).double(), random_images(64, 3)
    with torch.no_grad():
        logits = model(images)
    deviation = factor * FLOAT32_UNIT_ROUNDOFF
    arithmetic = Arithmetic(deviation=deviation, accumulation=deviation)
    scaled = logit_bounds(model, images, logits, noise=rounding_noise(arithmetic))
    np.testing.assert_allclose(scaled, factor * logit_bounds(model, images, logits), rtol=1e-2)


def test_reference_is_left_untouched() -> None:
    model, images = copy.deepcopy(random_model("128S", 64)).double(), random_images(64, 2)
    with torch.no_grad():
        logits = model(images)
    state, before, kept = copy.deepcopy(model.state_dict()), images.clone(), logits.clone()
    logit_bounds(model, images, logits)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(images, before)
    assert torch.equal(logits, kept)


@pytest.mark.parametrize("name", ["sigmoid", "gelu", "sub"])
def test_operation_without_a_known_error_is_refused_by_name(name: str) -> None:
    class Unknown(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            operations = {"sigmoid": torch.sigmoid, "gelu": nn.functional.gelu, "sub": lambda y: y - 1}
            return operations[name](x.flatten(1))

    with pytest.raises(ValueError, match=f"operation '{name}'"):
        logit_bounds(Unknown(), torch.zeros(1, 3, 2, 2).double(), torch.zeros(1, 12).double())


@pytest.mark.parametrize("factor", [1e-3, 100.0, 1000.0])
def test_one_logit_of_another_scale_does_not_break_the_bound(factor: float) -> None:
    model = copy.deepcopy(random_model("128S", 64))
    with torch.no_grad():
        for head in (model.head, model.distillation_head):
            head.linear.weight[7] *= factor
    images = sample_images(8, 64, torch.Generator().manual_seed(2))
    truth = logits_and_bounds(model, images)
    for candidate in (model, fuse(model)):
        rung_of(candidate, images, truth).require()


def test_a_huge_head_bias_does_not_widen_the_bound_of_the_rest() -> None:
    model = copy.deepcopy(random_model("128S", 64))
    images = sample_images(4, 64, torch.Generator().manual_seed(2))
    before = logits_and_bounds(model, images)[1]
    with torch.no_grad():
        model.head.linear.bias[3] += 50.0
    after = logits_and_bounds(model, images)[1]
    assert max(after) < 10 * max(before)

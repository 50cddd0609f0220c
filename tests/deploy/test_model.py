"""The eager reference: sizes, heads, training, stochastic depth, initial weights, independent rows."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from levit_deploy.architectures import config_for
from levit_deploy.initialization import randomize, sample_images
from levit_deploy.model import Levit, StochasticDepth, create_model

ARCHS = ("128S", "128", "192", "256", "384")


def images_of(side: int, count: int = 3, seed: int = 0) -> Tensor:
    return sample_images(count, side, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("distillation", [True, False], ids=["two-heads", "one-head"])
@pytest.mark.parametrize("side", [16, 48, 80, 112, 160, 208, 224, 240])
def test_any_multiple_of_16_works(side: int, distillation: bool) -> None:
    model = create_model("128S", image_size=side, num_classes=7, distillation=distillation).eval()
    logits = model(torch.zeros(2, 3, side, side))
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()
    assert model.stem(torch.zeros(1, 3, side, side)).shape == (1, 128, side // 16, side // 16)


@pytest.mark.parametrize("distillation", [True, False], ids=["two-heads", "one-head"])
@pytest.mark.parametrize("classes", [1, 2, 7, 1000])
def test_any_class_count_works(classes: int, distillation: bool) -> None:
    model = create_model("128S", image_size=32, num_classes=classes, distillation=distillation)
    images = torch.zeros(2, 3, 32, 32)
    assert model.eval()(images).shape == (2, classes)
    trained = model.train()(images)
    for logits in trained if distillation else (trained,):
        assert logits.shape == (2, classes)
    assert isinstance(trained, tuple) == distillation


@pytest.mark.parametrize("arch", ARCHS)
def test_evaluation_is_the_mean_of_the_heads(arch: str) -> None:
    model = create_model(arch, image_size=32, num_classes=7).eval()
    outputs: list[Tensor] = []
    assert model.distillation_head is not None
    for head in (model.head, model.distillation_head):
        head.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    logits = model(images_of(32).float())
    first, second = outputs
    torch.testing.assert_close(logits, torch.stack((first, second)).mean(0), rtol=1e-6, atol=1e-7)
    assert (first - second).abs().min() > 0  # else either alone would do


@pytest.mark.parametrize("distillation", [True, False], ids=["two-heads", "one-head"])
@pytest.mark.parametrize("arch", ARCHS)
def test_gradients_reach_every_parameter(arch: str, distillation: bool) -> None:
    # 80 px leave 5, 3 and 2 tokens a side: with a single token a softmax has no gradient.
    model = create_model(arch, image_size=80, num_classes=5, distillation=distillation, drop_path_rate=0.0).train()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("norm.weight", "bias.table")):
                parameter.uniform_(0.5, 1.0, generator=torch.Generator().manual_seed(0))
    outputs = model(images_of(80, count=4).float())
    pair = outputs if distillation else (outputs,)
    loss = sum(nn.functional.cross_entropy(logits, torch.arange(4) + i) for i, logits in enumerate(pair))
    assert isinstance(loss, Tensor)
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name
        if name.endswith("bias.table"):
            assert parameter.grad.all(), f"{name}: some distances have no gradient"


def binomial_tail(successes: int, trials: int, p: float) -> float:
    """Probability of a count at least as far out on the same side as `successes`."""
    side = range(successes + 1) if successes < trials * p else range(successes, trials + 1)
    logs = (
        math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1)
        + k * math.log(p) + (trials - k) * math.log1p(-p)
        for k in side
    )  # fmt: skip
    return sum(map(math.exp, logs))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_stochastic_depth_drops_whole_images_at_its_rate(rate: float) -> None:
    torch.manual_seed(0)
    trials = 5000
    kept = StochasticDepth(rate).train()(torch.ones(trials, 2, 3, dtype=torch.float64))
    assert (kept == kept[:, :1, :1]).all()
    values = kept[:, 0, 0]
    torch.testing.assert_close(values[values != 0], torch.full_like(values[values != 0], 1 / (1 - rate)))
    dropped = int((values == 0).sum())
    assert binomial_tail(dropped, trials, rate) > 1e-6
    assert binomial_tail(dropped, trials, rate * 0.85) < 1e-3  # negative control: another rate is told apart


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.9])
def test_stochastic_depth_is_the_identity_in_evaluation(rate: float) -> None:
    branch = torch.randn(4, 5, 6)
    assert torch.equal(StochasticDepth(rate).eval()(branch), branch)
    assert torch.equal(StochasticDepth(0.0).train()(branch), branch)


def test_every_residual_branch_can_be_dropped_and_no_downsampling_attention() -> None:
    """At a rate of nearly one nothing but the trunk is left, which zero gains leave as well."""
    config = config_for("128S", image_size=48, num_classes=7, drop_path_rate=1 - 1e-9)
    dropping, trunk = Levit(config).train(), Levit(config_for("128S", image_size=48, num_classes=7)).train()
    randomize(dropping, seed=1)
    trunk.load_state_dict(dropping.state_dict())
    with torch.no_grad():
        for name, parameter in trunk.named_parameters():
            if ".contract.norm." in name or (".blocks." in name and ".projection.norm." in name):
                parameter.zero_()
    images = images_of(48, count=4).float()
    for actual, expected in zip(dropping(images), trunk(images), strict=True):
        torch.testing.assert_close(actual, expected)
    assert (dropping.eval()(images) - trunk.eval()(images)).abs().max() > 0.1  # evaluation drops nothing


@pytest.mark.parametrize("arch", ARCHS)
def test_initial_weights_are_the_authors(arch: str) -> None:
    torch.manual_seed(0)
    model = create_model(arch, image_size=48)
    config, silent = model.config, 0
    for name, parameter in model.named_parameters():
        is_branch_end = ".contract.norm" in name or (".blocks." in name and ".attention.projection.norm" in name)
        if name.endswith("norm.weight"):
            silent += is_branch_end
            assert (parameter == (0.0 if is_branch_end else 1.0)).all(), name
        elif name.endswith((".bias", ".table")):
            assert not parameter.any(), name
        elif name.startswith(("head.", "distillation_head.")):
            assert parameter.std().item() == pytest.approx(0.02, rel=0.02), name
        else:  # PyTorch's default is uniform
            bound = parameter[0].numel() ** -0.5
            assert bound * 0.9 < parameter.abs().max() <= bound, name
    assert silent == 2 * sum(config.depths) + 2


def test_rows_of_a_batch_are_independent_in_evaluation() -> None:
    model = create_model("128S", image_size=64, num_classes=7)
    randomize(model, seed=0)
    model.double().eval()
    images = images_of(64, count=5)
    order = torch.tensor([3, 0, 4, 2, 1])
    with torch.no_grad():
        together = model(images)
        alone = torch.cat([model(image[None]) for image in images])
        permuted = model(images[order])
        beside_noise = model(torch.cat((images[:1], 100 * images[1:])))
        in_training = model.train()(images)[0]  # normalises over the batch
        alone_in_training = model(images[:2])[0]
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-11)
    torch.testing.assert_close(permuted, together[order], rtol=0, atol=1e-11)
    torch.testing.assert_close(beside_noise[0], together[0], rtol=0, atol=1e-11)
    assert (in_training[:2] - alone_in_training).abs().max() > 1e-3  # negative control

"""Seeded weights: deterministic, and every tensor of them matters."""

from __future__ import annotations

import copy

import torch
from torch import nn

from levit_deploy.initialization import randomize, sample_images
from levit_deploy.model import create_model


def build(seed: int = 0):
    model = create_model("128S", num_classes=7, image_size=96)
    randomize(model, seed)
    return model


def test_same_seed_gives_the_same_weights_whatever_the_global_seed_and_threads():
    torch.manual_seed(1)
    one = build().state_dict()
    torch.manual_seed(2)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    other = build().state_dict()
    torch.set_num_threads(threads)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not torch.equal(one["head.linear.weight"], build(1).state_dict()["head.linear.weight"])


def test_global_seed_and_training_flag_are_left_alone():
    model = create_model("128S", num_classes=7, image_size=96).eval()
    torch.manual_seed(5)
    randomize(model, 0)
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(3))
    assert not any(module.training for module in model.modules())
    assert {module.momentum for module in model.modules() if isinstance(module, nn.BatchNorm1d)} == {0.1}


def test_statistics_have_bfloat16_precision():
    for name, tensor in build().state_dict().items():
        if name.endswith(("running_mean", "running_var")):
            assert torch.equal(tensor, tensor.bfloat16().float())


def test_logits_follow_the_image_and_are_well_conditioned():
    model = build().eval()
    images = sample_images(8, 96, torch.Generator().manual_seed(3))
    with torch.no_grad():
        single, double = model(images.float()), copy.deepcopy(model).double()(images)
    assert 0.3 < double.std() < 3.0
    assert double.std(dim=0).mean() > 0.3
    assert (single - double).abs().max() < 1e-4


def test_every_tensor_matters():
    model = build().eval()
    images = sample_images(2, 96, torch.Generator().manual_seed(3)).float()
    model(images).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        effect = (parameter.grad * parameter).norm()  # first order, of halving it say
        assert effect > 1e-4, name  # rounding moves these logits by about 1e-6

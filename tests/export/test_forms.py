"""The graph forms compute what the fused network computes: in PyTorch, for any network, without tracing."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from levit_deploy.architectures import VARIANTS
from levit_deploy.fusion import fuse
from levit_deploy.initialization import randomize, sample_images
from levit_deploy.model import Levit, create_model
from levit_export.forms.convolutions import convolution_form


def largest_difference(model: Levit, batch: int) -> float:
    images = sample_images(batch, model.config.image_size, torch.Generator().manual_seed(1))
    with torch.no_grad():
        return float((convolution_form(fuse(model.double().eval()))(images) - model(images)).abs().max())


@settings(max_examples=30, deadline=None)
@given(
    arch=st.sampled_from(list(VARIANTS)),
    classes=st.integers(1, 50),
    patches=st.integers(1, 6),
    distillation=st.booleans(),
    batch=st.integers(1, 3),
)
def test_convolutions_equal_the_eager_model(arch, classes, patches, distillation, batch):
    torch.manual_seed(0)
    model = create_model(arch, num_classes=classes, image_size=16 * patches, distillation=distillation)
    for name, parameter in model.named_parameters():
        if name.endswith(("norm.weight", "table")):  # else every residual branch is zero
            torch.nn.init.normal_(parameter)
    assert largest_difference(model, batch) < 1e-9


@pytest.mark.parametrize("arch", VARIANTS)
def test_form_leaves_the_fused_network_alone(arch):
    model = create_model(arch, image_size=32)
    randomize(model, 0)
    fused = fuse(model)
    before = {name: tensor.clone() for name, tensor in fused.state_dict().items()}
    convolution_form(fused)
    assert all(torch.equal(tensor, before[name]) for name, tensor in fused.state_dict().items())


def test_difference_would_show():
    model = create_model("128S", num_classes=5, image_size=48)
    randomize(model, 0)
    model = model.double().eval()
    form = convolution_form(fuse(model))
    form.stages[0].blocks[0].attention.bias.mul_(1.01)
    images = sample_images(2, 48, torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert (form(images) - model(images)).abs().max() > 1e-6

"""The packed form computes what the fused network computes, and differs where it should."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from levit_deploy.architectures import VARIANTS
from levit_deploy.fusion import fuse
from levit_deploy.initialization import randomize, sample_images
from levit_deploy.model import Levit, create_model
from levit_export.forms.packed import PackedAttention, attend_by_operator, moved_rows, packed_form


def eager(arch: str, *, image_size: int, classes: int = 5) -> Levit:
    model = create_model(arch, num_classes=classes, image_size=image_size)
    randomize(model, 0)
    return model.double().eval()


@settings(max_examples=10, deadline=None)
@given(
    arch=st.sampled_from(list(VARIANTS)),
    patches=st.integers(1, 6),
    batch=st.integers(1, 3),
    operator=st.booleans(),
)
def test_packed_equals_the_eager_model(arch: str, patches: int, batch: int, operator: bool) -> None:
    model = eager(arch, image_size=16 * patches)
    images = sample_images(batch, 16 * patches, torch.Generator().manual_seed(1))
    with torch.no_grad():
        difference = (packed_form(fuse(model), operator=operator)(images) - model(images)).abs().max()
    assert difference < 1e-9


@pytest.mark.parametrize("arch", VARIANTS)
def test_rows_are_found_where_they_were_moved_to(arch: str) -> None:
    fused = fuse(eager(arch, image_size=32))
    packed, moved = packed_form(fused, operator=False), moved_rows(fused)
    names = {name for name, _ in packed.named_modules() if "packed_" in name}
    assert set(moved) == names
    for path, rows in moved.items():
        before, after = fused.get_submodule(rows.path), packed.get_submodule(path)
        assert torch.equal(after.weight[list(rows.places)], before.weight)
        assert torch.equal(after.bias[list(rows.places)], before.bias)


@pytest.mark.parametrize("arch", VARIANTS)
def test_queries_keys_and_values_have_one_width_and_only_zeros_were_added(arch: str) -> None:
    fused = fuse(eager(arch, image_size=32))
    before = {name: tensor.clone() for name, tensor in fused.state_dict().items()}
    packed = packed_form(fused, operator=False)
    assert all(torch.equal(tensor, before[name]) for name, tensor in fused.state_dict().items())
    attentions = {name: module for name, module in packed.named_modules() if isinstance(module, PackedAttention)}
    assert len(attentions) == sum(packed.config.depths)
    for name, attention in attentions.items():
        source = fused.get_submodule(name).qkv.weight
        rows = attention.packed_qkv.weight.unflatten(0, (3, attention.heads, attention.width))
        key_dim = packed.config.key_dim
        assert (rows[:2, :, key_dim:] == 0).all()
        assert (attention.packed_qkv.weight != 0).any(dim=1).sum() == len(source)
        assert torch.isclose(rows.abs().sum(), source.abs().sum())


def test_an_attention_can_be_spelled_out_where_the_others_are_operators() -> None:
    path = "stages.1.downsample.attention"
    packed = packed_form(fuse(eager("128S", image_size=32)), operator=True, spelled_out=[path])
    chosen = {name: module.attend for name, module in packed.named_modules() if hasattr(module, "attend")}
    assert [name for name, one in chosen.items() if one is not attend_by_operator] == [path]


def test_difference_would_show() -> None:
    model = eager("128S", image_size=48)
    images = sample_images(2, 48, torch.Generator().manual_seed(1))
    packed = packed_form(fuse(model), operator=True)
    with torch.no_grad():
        # One row of zeros of the queries, and of the keys, is not zero any more.
        attention = packed.stages[0].blocks[0].attention
        rows = attention.packed_qkv.weight.unflatten(0, (3, attention.heads, attention.width))
        rows[:2, 0, -1] = 1.0
        assert (packed(images) - model(images)).abs().max() > 1e-6

"""Every layout, container and prefix loads into the same network."""

from __future__ import annotations

import argparse
from collections import OrderedDict

import pytest
import safetensors.torch
import torch

from levit_deploy.checkpoints import Origin, load_checkpoint, state_dict_for_timm
from levit_deploy.errors import CheckpointError
from levit_deploy.fusion import fuse
from levit_deploy.model import create_model

ORIGINS = ("official", "transformers", "mmpretrain")
# Loading copies tensors; only fused files differ, as they were rounded to float32 after folding.
FUSED_TOLERANCE = 1e-4


@pytest.mark.parametrize("indices", [True, False], ids=["indices", "no-indices"])
@pytest.mark.parametrize("origin", ORIGINS)
def test_layout_loads_exactly(origin, indices, small, writers, saved, same_function):
    path = saved(writers[origin](small, indices=indices))
    checkpoint = load_checkpoint(path, arch="levit-128s", image_size=96)
    assert checkpoint.origin is Origin(origin)
    assert checkpoint.model.config == small.config
    assert checkpoint.file_name == "checkpoint.pth"
    assert (checkpoint.container, checkpoint.notes) == (None, ())
    assert not checkpoint.model.training
    assert same_function(checkpoint.model, small) == 0.0


@pytest.mark.parametrize("arch", ["128S", "128", "192", "256", "384"])
def test_every_variant_is_inferred(arch, writers, saved):
    model = create_model(arch)
    config = load_checkpoint(saved(writers["official"](model)), arch=arch).model.config
    assert config == model.config


def test_tensor_counts_are_those_of_the_real_files(small, writers):
    assert len(writers["official"](small)) == 336
    assert len(writers["transformers"](small)) == 325


@pytest.mark.parametrize("origin", ORIGINS)
def test_one_head_loads_with_a_note(origin, network, writers, saved, same_function):
    model = network("128S", 10, 96, distillation=False)
    checkpoint = load_checkpoint(saved(writers[origin](model)))
    assert checkpoint.model.config == model.config
    assert "no distillation head" in " ".join(checkpoint.notes)
    assert same_function(checkpoint.model, model) == 0.0


def test_old_timm_convolution_mode_is_official_with_4d_weights(small, writers, saved, same_function):
    state = {
        key: tensor[..., None, None] if key.startswith("blocks.") and key.endswith(".c.weight") else tensor
        for key, tensor in writers["official"](small).items()
    }
    assert same_function(load_checkpoint(saved(state)).model, small) == 0.0


@pytest.mark.parametrize("part", ["everything", "backbone", "stem", "one MLP"])
@pytest.mark.parametrize("origin", ["official", "mmpretrain", "timm"])
def test_fused_files_load(origin, part, small, writers, fuse_in_file, saved, same_function):
    state = state_dict_for_timm(small) if origin == "timm" else writers[origin](small)
    heads = ("head",)
    chosen = {
        "everything": lambda _: True,
        "backbone": lambda path: not path.startswith(heads),
        "stem": lambda path: "patch_embed" in path or path.startswith("stem"),
        "one MLP": lambda path: path.endswith(("blocks.1.m.0", "stages.0.1.block.linear1", "blocks.0.mlp.ln1")),
    }[part]
    for linear in ("c", "l", "conv", "linear"):
        state = fuse_in_file(state, linear, chosen)
    checkpoint = load_checkpoint(saved(state))
    assert "already fused" in checkpoint.notes[0]
    assert same_function(checkpoint.model, small) <= FUSED_TOLERANCE


def test_fused_layers_survive_our_own_fusion(small, writers, fuse_in_file, saved, same_function):
    state = fuse_in_file(writers["mmpretrain"](small), "conv", lambda _: True)
    state = fuse_in_file(state, "linear", lambda path: path.startswith("backbone"))
    model = fuse(load_checkpoint(saved(state)).model)
    assert same_function(small, model) <= FUSED_TOLERANCE


@pytest.mark.parametrize("name", ["a.pth", "a.pt", "a.bin", "a.pth.tar", "a"])
def test_torch_extensions(name, small, writers, saved, same_function):
    assert same_function(load_checkpoint(saved(writers["official"](small), name)).model, small) == 0.0


def test_legacy_torch_format(small, writers, saved, same_function):
    path = saved(writers["official"](small), _use_new_zipfile_serialization=False)
    assert same_function(load_checkpoint(path).model, small) == 0.0


@pytest.mark.parametrize("name", ["model.safetensors", "model.bin"])
def test_safetensors_by_name_or_content(name, small, writers, tmp_path, same_function):
    path = tmp_path / name
    safetensors.torch.save_file(writers["transformers"](small), path)
    assert same_function(load_checkpoint(path).model, small) == 0.0


@pytest.mark.parametrize(
    ("right", "wrong", "note"),
    [
        ("model", (), None),
        ("state_dict", (), None),
        ("model_ema", (), None),
        ("state_dict_ema", (), None),
        ("model", ("model_ema",), "'model_ema'"),
        ("state_dict_ema", ("state_dict",), "'state_dict'"),
        ("state_dict", ("ema_state_dict",), "'ema_state_dict'"),
        ("state_dict", ("model_ema",), "'model_ema'"),
    ],
)
def test_container_choice(right, wrong, note, small, writers, saved, same_function):
    state = writers["official"](small)
    content = {key: {name: torch.zeros(1) for name in state} for key in wrong}
    checkpoint = load_checkpoint(saved(content | {right: state}))
    assert checkpoint.container == right
    assert same_function(checkpoint.model, small) == 0.0
    assert (note is None and not checkpoint.notes) or note in checkpoint.notes[0]


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("origin", ["official", "transformers"])
def test_wrapper_prefixes(origin, prefix, small, writers, saved, same_function):
    state = {prefix + key: tensor for key, tensor in writers[origin](small).items()}
    assert same_function(load_checkpoint(saved({"state_dict": state})).model, small) == 0.0


def test_a_prefix_on_some_keys_only_is_an_error(small, writers, saved):
    state = writers["official"](small)
    state["module.head.bn.weight"] = state.pop("head.bn.weight")
    with pytest.raises(CheckpointError, match=r"unexpected key 'module\.head\.bn\.weight'.*'head\.bn\.weight'"):
        load_checkpoint(saved(state))


def test_training_file_with_options_loads(small, writers, saved, same_function):
    state = OrderedDict(writers["official"](small))
    content = {"model": state, "optimizer": {"state": {}, "param_groups": [{"lr": 1e-3}]}, "epoch": 3}
    content["args"] = argparse.Namespace(model="LeViT_128S", lr=5e-4, nested={"a": [1, None]})
    assert same_function(load_checkpoint(saved(content)).model, small) == 0.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_converted_with_a_note(dtype, small, writers, saved):
    state = {
        key: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for key, tensor in writers["official"](small).items()
    }
    checkpoint = load_checkpoint(saved(state))
    assert {parameter.dtype for parameter in checkpoint.model.parameters()} == {torch.float32}
    assert checkpoint.notes == (f"Weights stored as {str(dtype)[6:]} were converted to float32.",)


def test_strided_weights_are_read_by_their_strides(small, writers, saved, same_function):
    state = {
        key: tensor.t().contiguous().t() if tensor.ndim == 2 else tensor
        for key, tensor in writers["official"](small).items()
    }
    assert same_function(load_checkpoint(saved(state)).model, small) == 0.0


def test_loading_leaves_the_global_seed_alone(small, writers, saved):
    path = saved(writers["official"](small))
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_checkpoint(path)
    assert torch.equal(torch.rand(3), expected)

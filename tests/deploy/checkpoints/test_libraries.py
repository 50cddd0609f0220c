"""Our network computes what timm's and transformers' own code compute from the very files they saved."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from levit_deploy.checkpoints import Origin, load_checkpoint, state_dict_for_timm
from levit_deploy.errors import CheckpointError, ConfigError
from levit_deploy.model import Levit

timm = pytest.importorskip("timm")
transformers = pytest.importorskip("transformers")

ARCHS = ("128S", "128", "192", "256", "384")
LIBRARIES = ("timm", "timm-conv", "transformers")
# Logits have a standard deviation of about 1. Measured for the five variants at 224 pixels: at most 1.5e-6
# in float32 and 4.2e-15 in float64; each mistake planted below moves them by more than 1e-3.
FLOAT32_TOLERANCE = 1e-4
FLOAT64_TOLERANCE = 1e-9
MISTAKE = 1e-3


def build_timm(model: Levit, folder: Path, *, conv: bool = False) -> tuple[nn.Module, Path]:
    config = model.config
    name = f"levit_{'conv_' if conv else ''}{config.arch.lower()}"
    library = timm.create_model(name, num_classes=config.num_classes, img_size=config.image_size)
    state = state_dict_for_timm(model)
    if conv:
        state = {
            key: tensor[..., None, None]
            if key.startswith("stages.") and tensor.ndim == 2 and not key.endswith("attention_biases")
            else tensor
            for key, tensor in state.items()
        }
    library.load_state_dict(state, strict=True)
    path = folder / ("model.pth.tar" if conv else "model.safetensors")
    if conv:
        torch.save({"state_dict": library.state_dict(), "epoch": 1, "arch": name}, path)
    else:
        safetensors.torch.save_file(library.state_dict(), path)
    return library.eval(), path


def build_transformers(model: Levit, state: dict[str, Tensor], folder: Path) -> tuple[nn.Module, Path]:
    config = transformers.LevitConfig(
        image_size=model.config.image_size,
        hidden_sizes=list(model.config.embed_dims),
        num_attention_heads=list(model.config.heads),
        depths=list(model.config.depths),
        key_dim=[model.config.key_dim] * 3,
        num_labels=model.config.num_classes,
        drop_path_rate=0,
    )
    library = transformers.LevitForImageClassificationWithTeacher(config).eval()
    library.load_state_dict(state, strict=True)
    library.save_pretrained(folder)
    return library, folder / "model.safetensors"


def logits(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        out = network(images)
    return out if isinstance(out, Tensor) else out.logits


@pytest.mark.parametrize("arch", ARCHS)
def test_logits_equal_those_of_the_libraries(arch, network, writers, images, tmp_path):
    image_size = 224 if arch == "128S" else 96  # 96 gives odd grids too, in a fifth of the time
    reference = network(arch, 1000, image_size)
    inputs = images(image_size)[:2]
    expected = logits(reference, inputs.float())
    assert 0.3 < expected.std() < 3.0
    for library_name in LIBRARIES:
        if library_name == "transformers":
            library, path = build_transformers(reference, writers["transformers"](reference), tmp_path / "hf")
        else:
            library, path = build_timm(reference, tmp_path, conv=library_name == "timm-conv")
        checkpoint = load_checkpoint(path, arch=arch)
        assert checkpoint.origin is Origin(library_name.removesuffix("-conv"))
        assert checkpoint.model.config == reference.config
        # A copy for each dtype, as the libraries cache the gathered biases at the first forward.
        ours, theirs = (logits(net, inputs.float()) for net in (checkpoint.model, copy.deepcopy(library)))
        assert torch.equal(ours, expected)
        float32 = float((ours - theirs).abs().max())
        ours, theirs = (logits(copy.deepcopy(net).double(), inputs) for net in (checkpoint.model, library))
        float64 = float((ours - theirs).abs().max())
        assert float32 <= FLOAT32_TOLERANCE
        assert float64 <= FLOAT64_TOLERANCE


@pytest.mark.parametrize(("image_size", "num_classes"), [(160, 10), (256, 1000), (80, 3)])
def test_fine_tuned_files_of_other_sizes(image_size, num_classes, network, images, tmp_path):
    reference = network("128S", num_classes, image_size)
    library, path = build_timm(reference, tmp_path)
    checkpoint = load_checkpoint(path)
    assert checkpoint.model.config == reference.config
    inputs = images(image_size)[:2].float()
    assert float((logits(checkpoint.model, inputs) - logits(library, inputs)).abs().max()) <= FLOAT32_TOLERANCE


def test_transformers_single_head_class(network, writers, images, tmp_path):
    reference = network("128S", 10, 96, distillation=False)
    config = transformers.LevitConfig(
        image_size=96, num_attention_heads=[4, 6, 8], depths=[2, 3, 4], num_labels=10, drop_path_rate=0
    )
    library = transformers.LevitForImageClassification(config).eval()
    library.load_state_dict(writers["transformers"](reference), strict=True)
    library.save_pretrained(tmp_path)
    checkpoint = load_checkpoint(tmp_path / "model.safetensors")
    inputs = images(96).float()
    assert float((logits(checkpoint.model, inputs) - logits(library, inputs)).abs().max()) <= FLOAT32_TOLERANCE


def swap_query_and_key(model: Levit) -> None:
    attention = model.get_submodule("stages.1.blocks.0.attention")
    rows = attention.qkv.linear.weight.data.unflatten(0, (attention.heads, -1))
    width = attention.key_dim
    rows[:, : 2 * width] = torch.cat([rows[:, width : 2 * width], rows[:, :width]], dim=1).clone()


def shift_bias_index(model: Levit) -> None:
    bias = model.get_submodule("stages.0.blocks.0.attention.bias")
    bias.table.data.copy_(bias.table.data.roll(1, dims=1))


def transpose_downsample_bias(model: Levit) -> None:
    table = model.get_submodule("stages.1.downsample.attention.bias").table.data
    table.copy_(table.unflatten(1, (6, 6)).transpose(1, 2).flatten(1))


def change_epsilon(model: Levit) -> None:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.eps = 1.1e-5


def change_head_epsilon(model: Levit) -> None:
    model.head.norm.eps = 1e-6


def drop_second_head(model: Levit) -> None:
    model.distillation_head = None


@pytest.mark.parametrize(
    "mistake",
    [
        swap_query_and_key,
        shift_bias_index,
        transpose_downsample_bias,
        change_epsilon,
        change_head_epsilon,
        drop_second_head,
    ],
)
def test_a_planted_mistake_exceeds_the_tolerance(mistake, small, images, tmp_path):
    library, path = build_timm(small, tmp_path)
    model = load_checkpoint(path).model
    mistake(model)
    inputs = images(96).float()
    assert float((logits(model, inputs) - logits(library, inputs)).abs().max()) > MISTAKE


@pytest.mark.parametrize("name", ["levit_384_s8", "levit_512", "levit_256d"])
def test_timm_variants_that_the_paper_lacks_are_named(name, saved):
    path = saved(timm.create_model(name).state_dict())
    with pytest.raises(CheckpointError, match=r"is a LeViT with dims .*none of the five.*128S: dims 128/") as error:
        load_checkpoint(path)
    assert {"levit_384_s8": "3 stem", "levit_512": "key dim 64", "levit_256d": "depths 4/8/6"}[name] in str(error.value)


def test_timm_backbone_without_head(saved):
    path = saved(timm.create_model("levit_128s", num_classes=0).state_dict())
    with pytest.raises(CheckpointError, match="without its classification head"):
        load_checkpoint(path)


def test_folded_model_has_no_timm_form(small, writers, fuse_in_file, saved):
    state = fuse_in_file(writers["official"](small), "c", lambda path: path == "blocks.0.m.qkv")
    model = load_checkpoint(saved(state)).model
    with pytest.raises(ConfigError, match=r"stages\.0\.blocks\.0\.attention\.qkv"):
        state_dict_for_timm(model)

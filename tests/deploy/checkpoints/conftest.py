"""Randomised networks, and layouts written from the key tables of LEVIT.md, not from the product."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from levit_deploy.initialization import randomize, sample_images
from levit_deploy.model import Levit, create_model, offset_index

Writer = Callable[..., dict[str, Tensor]]

# Leaf names of LEVIT.md 2.3: our layer -> (path of the layer, name of its linear part), per origin.
_OFFICIAL_LAYERS = {
    "qkv": "qkv",
    "projection": "proj.1",
    "key_value": "kv",
    "query": "q.1",
    "expand": "0",
    "contract": "2",
}
_TRANSFORMERS_LAYERS = {
    "qkv": "queries_keys_values",
    "projection": "projection",
    "key_value": "keys_values",
    "query": "queries",
    "expand": "linear_up",
    "contract": "linear_down",
}
_MMPRETRAIN_LAYERS = _OFFICIAL_LAYERS | {"expand": "linear1", "contract": "linear2"}


def _official_block(model: Levit, stage: int, block: int | None, part: str) -> str:
    depths = model.config.depths
    mlp = int(part == "mlp")
    if block is None:  # the downsampler that leads into `stage` ends the stage before
        base = sum(2 * depth + 2 for depth in depths[: stage - 1])
        return f"blocks.{base + 2 * depths[stage - 1] + mlp}" + (".m" if mlp else "")
    base = sum(2 * depth + 2 for depth in depths[:stage])
    return f"blocks.{base + 2 * block + mlp}.m"


def _transformers_block(model: Levit, stage: int, block: int | None, part: str) -> str:
    mlp = int(part == "mlp")
    if block is None:
        depth = model.config.depths[stage - 1]
        return f"levit.encoder.stages.{stage - 1}.layers.{2 * depth + mlp}" + (".module" if mlp else "")
    return f"levit.encoder.stages.{stage}.layers.{2 * block + mlp}.module"


def _mmpretrain_block(_model: Levit, stage: int, block: int | None, part: str) -> str:
    mlp = int(part == "mlp")
    if block is None:
        return f"backbone.stages.{stage}.{mlp}" + (".block" if mlp else "")
    return f"backbone.stages.{stage}.{2 * block + mlp + (2 if stage else 0)}.block"


def _write(model, block_path, layers, stem, parts, heads, *, indices):
    """Rename tensors; `parts` are the names of (stem linear, block linear, head linear, norm)."""
    stem_linear, block_linear, head_linear, norm = parts
    state = {}
    for name, tensor in model.state_dict().items():
        words = name.split(".")
        if words[0] == "stem":
            path, linear, leaf = stem[int(words[1][-1]) - 1], stem_linear, words[2:]
        elif words[0] == "stages":
            down = words[2] == "downsample"
            block = None if down else int(words[3])
            part, *leaf = words[3 if down else 4 :]
            path, linear = block_path(model, int(words[1]), block, part), block_linear
            if leaf == ["bias", "table"]:
                state[f"{path}.attention_biases"] = tensor.clone()
                if indices:
                    resolution = model.config.resolutions[int(words[1]) - down]
                    state[f"{path}.attention_bias_idxs"] = offset_index(resolution, 2 if down else 1)
                continue
            path, leaf = f"{path}.{layers[leaf[0]]}", leaf[1:]
        else:
            path, linear, leaf = heads[words[0] != "head"], head_linear, words[1:]
        state[".".join([path, linear if leaf[0] == "linear" else norm, leaf[1]])] = tensor.clone()
    return state


def write_official(model: Levit, *, indices: bool = True) -> dict[str, Tensor]:
    stem = [f"patch_embed.{2 * index}" for index in range(4)]
    parts = ("c", "c", "l", "bn")
    return _write(model, _official_block, _OFFICIAL_LAYERS, stem, parts, ("head", "head_dist"), indices=indices)


def write_transformers(model: Levit, *, indices: bool = False) -> dict[str, Tensor]:
    stem = [f"levit.patch_embeddings.embedding_layer_{index + 1}" for index in range(4)]
    parts = ("convolution", "linear", "linear", "batch_norm")
    heads = ("classifier", "classifier_distill")
    return _write(model, _transformers_block, _TRANSFORMERS_LAYERS, stem, parts, heads, indices=indices)


def write_mmpretrain(model: Levit, *, indices: bool = True) -> dict[str, Tensor]:
    stem = [f"backbone.patch_embed.patch_embed.{2 * index}" for index in range(4)]
    parts = ("conv", "linear", "linear", "bn")
    heads = ("head.head", "head.head_dist")
    return _write(model, _mmpretrain_block, _MMPRETRAIN_LAYERS, stem, parts, heads, indices=indices)


def fuse_layers(state: dict[str, Tensor], linear: str, where: Callable[[str], bool]) -> dict[str, Tensor]:
    """What the deployment tools write: `P.{linear}.weight` and `P.bn.*` become `P.weight` and `P.bias`."""
    fused = dict(state)
    for path in [key.removesuffix(f".{linear}.weight") for key in state if key.endswith(f".{linear}.weight")]:
        if not where(path):
            continue
        leaves = ("weight", "bias", "running_mean", "running_var")
        norm = {leaf: fused.pop(f"{path}.bn.{leaf}") for leaf in leaves}
        fused.pop(f"{path}.bn.num_batches_tracked")
        weight = fused.pop(f"{path}.{linear}.weight").double()
        gain = norm["weight"].double() / (norm["running_var"].double() + 1e-5).sqrt()
        shift = norm["bias"].double() - norm["running_mean"].double() * gain
        if f"{path}.{linear}.bias" in fused:  # a head: the normalisation comes first
            bias = fused.pop(f"{path}.{linear}.bias").double() + weight @ shift
            weight = weight * gain
        else:
            bias, weight = shift, weight * gain.reshape(-1, *(1,) * (weight.ndim - 1))
        fused[f"{path}.weight"], fused[f"{path}.bias"] = weight.float(), bias.float()
    return fused


@cache
def randomized(arch: str, num_classes: int = 1000, image_size: int = 224, distillation: bool = True) -> Levit:
    model = create_model(arch, num_classes=num_classes, image_size=image_size, distillation=distillation)
    randomize(model, 0)
    return model.eval()


@pytest.fixture
def network() -> Callable[..., Levit]:
    """Build (once) a randomised network in evaluation mode; do not change it."""
    return randomized


@pytest.fixture
def small() -> Levit:
    """LeViT-128S with 7 classes at 96 pixels; do not change it."""
    return randomized("128S", 7, 96)


@pytest.fixture
def writers() -> dict[str, Writer]:
    return {"official": write_official, "transformers": write_transformers, "mmpretrain": write_mmpretrain}


@pytest.fixture
def fuse_in_file() -> Callable[..., dict[str, Tensor]]:
    return fuse_layers


@pytest.fixture
def images() -> Callable[[int], Tensor]:
    """Build four float64 image-like inputs of a size."""

    def build(image_size: int) -> Tensor:
        return sample_images(4, image_size, torch.Generator().manual_seed(11))

    return build


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """Save an object with torch.save and return the path."""

    def save(content: object, name: str = "checkpoint.pth", **options: object) -> Path:
        path = tmp_path / name
        torch.save(content, path, **options)
        return path

    return save


@pytest.fixture
def same_function(images: Callable[[int], Tensor]) -> Callable[[Levit, Levit], float]:
    """The largest difference of the logits of two networks in float32."""

    def difference(one: Levit, other: Levit) -> float:
        inputs = images(one.config.image_size).float()
        with torch.no_grad():
            return float((one(inputs) - other(inputs)).abs().max())

    return difference

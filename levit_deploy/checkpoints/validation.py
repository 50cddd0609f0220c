"""Check every tensor of a checkpoint against the network it should fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from levit_deploy.architectures import LevitConfig
from levit_deploy.checkpoints.layout import NORM_LEAVES, NativeTensors
from levit_deploy.errors import CheckpointError
from levit_deploy.model import ConvNorm, Levit, LinearNorm, NormLinear, offset_index, remove_norm

WEIGHT_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INDEX_DTYPES = (torch.int32, torch.int64)
_BATCH_COUNTER = NORM_LEAVES[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatedWeights:
    """Finite float32 tensors that fit the network exactly, and the other dtypes they were stored in."""

    tensors: Mapping[str, Tensor]
    converted_dtypes: tuple[str, ...]


def build_model(config: LevitConfig, folded: frozenset[str]) -> Levit:
    """The network of `config`, with the layers `folded` in the form they have without their normalisation."""
    with torch.random.fork_rng(devices=[]):  # the initial weights are replaced: leave the caller's seed alone
        model = Levit(config)
    for path in folded:
        layer = model.get_submodule(path)
        assert isinstance(layer, ConvNorm | LinearNorm | NormLinear)
        remove_norm(layer)
    return model


def validate_weights(native: NativeTensors, config: LevitConfig) -> ValidatedWeights:
    """The tensors of `native` for the network of `config`; each is used, verified or named in an error."""
    wanted = dict(_expected_shapes(config, native.folded))
    for name, tensor in native.tensors.items():
        if name not in wanted:
            _verify_derived(native.file_key(name), name, tensor, config)
    tensors: dict[str, Tensor] = {}
    for name, shape in wanted.items():
        tensors[name] = _validated(native.file_key(name), name, native[name], shape)
    dtypes = {str(native[name].dtype).removeprefix("torch.") for name in wanted} - {"float32"}
    return ValidatedWeights(tensors=tensors, converted_dtypes=tuple(sorted(dtypes)))


def _expected_shapes(config: LevitConfig, folded: frozenset[str]) -> Iterator[tuple[str, tuple[int, ...]]]:
    with torch.device("meta"):  # shapes only: no memory is spent on what a hostile file claims
        template = build_model(config, folded)
    for name, tensor in template.state_dict().items():
        if not name.endswith(_BATCH_COUNTER):
            yield name, tuple(tensor.shape)


def _validated(key: str, name: str, tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    if tensor.dtype not in WEIGHT_DTYPES:
        raise CheckpointError(f"key {key!r} is of {tensor.dtype}; expected floating-point weights")
    # Convolution mode stores the linear layers of blocks as 1x1 convolutions.
    if name.startswith("stages.") and tensor.ndim == 4 and tensor.shape[2:] == (1, 1):
        tensor = tensor.flatten(1)
    if tuple(tensor.shape) != shape:
        raise CheckpointError(f"key {key!r} has shape {tuple(tensor.shape)}; expected {shape}")
    tensor = tensor.detach().to(torch.float32)
    if not bool(tensor.isfinite().all()):
        raise CheckpointError(f"key {key!r} holds NaN or infinite values; expected finite float32 weights")
    if name.endswith(".running_var") and not bool((tensor >= 0).all()):
        raise CheckpointError(f"key {key!r} holds a negative variance; the file is damaged")
    return tensor


def _verify_derived(key: str, name: str, tensor: Tensor, config: LevitConfig) -> None:
    """Check a tensor that the network needs no copy of; raise CheckpointError on one that is neither."""
    owner, _, leaf = name.rpartition(".")
    if leaf == _BATCH_COUNTER and tensor.numel() == 1:
        return
    if leaf != "offsets":
        raise CheckpointError(f"unexpected key {key!r}: LeViT-{config.arch} has no such tensor")
    stage = int(owner.split(".")[1])
    downsample = ".downsample." in owner
    resolution = config.resolutions[stage - downsample]
    wanted = offset_index(resolution, stride=2 if downsample else 1)
    if tensor.dtype not in INDEX_DTYPES or tensor.shape != wanted.shape or not bool((tensor == wanted).all()):
        raise CheckpointError(
            f"key {key!r} differs from the bias index |dy|·{resolution} + |dx| that LeViT uses at "
            f"{config.image_size} pixels; the biases cannot be read with certainty"
        )

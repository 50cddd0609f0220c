"""Find the state dict inside a loaded file and check that it holds tensors that really are there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from levit_deploy.errors import CheckpointError

# The first one present is used: what timm evaluates after training, what the authors evaluate, then the rest.
CONTAINERS = ("state_dict_ema", "model", "state_dict", "model_ema")
WRAPPER_PREFIXES = ("module.", "_orig_mod.")
# Averaged or raw weights that files keep beside those in use. mmengine swaps the two while saving, so that
# `state_dict` holds the averaged ones and `ema_state_dict` the raw ones.
_TWINS = ("model_ema", "ema_state_dict", "state_dict", "model")


@dataclass(frozen=True, slots=True, kw_only=True)
class StateDict:
    """The tensors of one network, the key of the file they were under, and what to say about that."""

    tensors: Mapping[str, Tensor]
    container: str | None
    notes: tuple[str, ...]


def find_state_dict(loaded: Any) -> StateDict:
    """The state dict of a loaded file, without wrapper prefixes."""
    if not isinstance(loaded, Mapping):
        raise CheckpointError(f"holds a {type(loaded).__name__} instead of a dict of tensors; pass a state dict")
    container = next((key for key in CONTAINERS if isinstance(loaded.get(key), Mapping)), None)
    state = loaded if container is None else loaded[container]
    if not state:
        raise CheckpointError(f"holds no tensors in {container or 'its dict'}; pass a LeViT checkpoint")
    for key, value in state.items():
        _require_plain_tensor(key, value)
    notes = () if container is None else tuple(_notes_on_twins(loaded, container))
    return StateDict(tensors=_without_wrappers(state), container=container, notes=notes)


def _notes_on_twins(loaded: Mapping[Any, Any], container: str) -> list[str]:
    return [
        f"The file holds weights in {container!r} and in {twin!r}; those in {container!r} are used."
        for twin in _TWINS
        if twin != container and isinstance(loaded.get(twin), Mapping)
    ]


def _require_plain_tensor(key: object, value: object) -> None:
    """Raise unless `value` is an ordinary tensor that stores all its elements."""
    if not isinstance(key, str):
        raise CheckpointError(f"key {key!r} is not a string; expected the names of tensors")
    if not isinstance(value, Tensor):
        raise CheckpointError(f"key {key!r} holds a {type(value).__name__}; expected a tensor or a known container")
    if value.layout is not torch.strided or value.is_quantized or value.device.type != "cpu":
        raise CheckpointError(f"key {key!r} is a sparse, quantized or empty tensor; expected a dense one with data")
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise CheckpointError(
            f"key {key!r} claims shape {tuple(value.shape)} but stores fewer elements; expected them all"
        )


def _without_wrappers(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Without the prefixes that DistributedDataParallel and torch.compile give to all keys."""
    for prefix in WRAPPER_PREFIXES:
        if all(key.startswith(prefix) for key in state):
            return _without_wrappers({key.removeprefix(prefix): tensor for key, tensor in state.items()})
    return state

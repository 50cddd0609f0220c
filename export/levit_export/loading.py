"""The first stage: the reference model with its weights, and a record of where they came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import safetensors.torch

from levit_deploy.architectures import config_for
from levit_deploy.bundle import sha256_of
from levit_deploy.checkpoints import fetch_pretrained, load_checkpoint
from levit_deploy.initialization import randomize
from levit_deploy.model import Levit
from levit_export.request import ExportRequest

UNTRAINED = "untrained"


@dataclass(frozen=True, slots=True)
class LoadedWeights:
    """The reference model (float32, evaluation), the record for the manifest, and sentences for the user."""

    model: Levit
    record: Mapping[str, Any]
    notes: tuple[str, ...]

    @property
    def origin(self) -> str:
        """The code base that the weights come from, or "untrained"."""
        return str(self.record["origin"])


def load_weights(request: ExportRequest) -> LoadedWeights:
    """Load, fetch or draw the weights that `request` names.

    Raises CheckpointError, ConfigError, or EnvironmentIncompleteError when a download is not possible.
    """
    if request.checkpoint is not None:
        return _from_checkpoint(request.checkpoint, request)
    if request.pretrained:
        return _from_checkpoint(fetch_pretrained(str(request.arch)), request)
    return _untrained(request)


def _from_checkpoint(path: Path, request: ExportRequest) -> LoadedWeights:
    checkpoint = load_checkpoint(path, arch=request.arch, image_size=request.image_size)
    record = {
        "origin": checkpoint.origin.value,
        "file_name": checkpoint.file_name,
        "file_sha256": checkpoint.sha256,
        "container": checkpoint.container,
        "notes": list(checkpoint.notes),
        "state_sha256": state_sha256(checkpoint.model),
    }
    return LoadedWeights(checkpoint.model, MappingProxyType(record), checkpoint.notes)


def _untrained(request: ExportRequest) -> LoadedWeights:
    model = Levit(config_for(str(request.arch), **request.changes)).eval().requires_grad_(requires_grad=False)
    randomize(model, request.seed)
    note = (
        f"the weights are untrained (random, seed {request.seed}): the bundle is good for timing and integration, "
        "its classes mean nothing; give --checkpoint FILE or --pretrained for real ones"
    )
    record = {
        "origin": UNTRAINED,
        "seed": request.seed,
        "notes": [note],
        "state_sha256": state_sha256(model),
    }
    return LoadedWeights(model, MappingProxyType(record), (note,))


def state_sha256(model: Levit) -> str:
    """The sha256 of all weights and statistics of `model`, in the safetensors layout with sorted names."""
    state = {name: tensor.contiguous() for name, tensor in sorted(model.state_dict().items())}
    return sha256_of(safetensors.torch.save(state))

"""What loading a checkpoint results in."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from levit_deploy.model import Levit


class Origin(str, Enum):
    """The code base whose tensor names a checkpoint has."""

    OFFICIAL = "official"
    TIMM = "timm"
    TRANSFORMERS = "transformers"
    MMPRETRAIN = "mmpretrain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A loaded checkpoint: the network and where it came from.

    `model` is the reference model in float32, on the CPU, in evaluation mode, without gradients; its `config`
    was inferred from the tensors. `sha256` is of the whole file, `file_name` its name without the folder.
    `container` is the key of the state dict inside the file, None where the file is the state dict. `notes`
    are sentences a user should see: what was chosen, converted or absent.
    """

    model: Levit
    origin: Origin
    sha256: str
    file_name: str
    container: str | None
    notes: tuple[str, ...]

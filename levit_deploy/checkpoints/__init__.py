"""Checkpoints of LeViT from every origin, read into the one reference model."""

from __future__ import annotations

from levit_deploy.checkpoints.checkpoint import Checkpoint, Origin
from levit_deploy.checkpoints.load import load_checkpoint
from levit_deploy.checkpoints.pretrained import fetch_pretrained
from levit_deploy.checkpoints.timm_layout import state_dict_for_timm

__all__ = ["Checkpoint", "Origin", "fetch_pretrained", "load_checkpoint", "state_dict_for_timm"]

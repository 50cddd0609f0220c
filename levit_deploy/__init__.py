"""What is true of a LeViT: the reference model, its checkpoints, fusion, preprocessing, bundles and parity."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from levit_deploy.bundle import open_bundle
    from levit_deploy.checkpoints import load_checkpoint
    from levit_deploy.fusion import fuse
    from levit_deploy.model import create_model

__all__ = ["create_model", "fuse", "load_checkpoint", "open_bundle"]


def __getattr__(name: str) -> Any:
    # Lazily: reading a bundle must not import PyTorch.
    match name:
        case "open_bundle":
            module = "bundle"
        case "load_checkpoint":
            module = "checkpoints"
        case "fuse":
            module = "fusion"
        case "create_model":
            module = "model"
        case _:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{module}"), name)

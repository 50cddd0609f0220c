"""Make torchvision, which timm and transformers import, importable beside a CPU build of torch.

The torchvision of PyPI is built for the CUDA torch; beside a CPU torch its compiled operators are missing, and
`import torchvision` stops at `torchvision::nms`. No LeViT uses them, so declaring them without an implementation is
enough. Where the two builds match, or torchvision is not installed, nothing is done.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_MISSING_OPERATORS = ("nms", "qnms")
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_DECLARATIONS: list[torch.library.Library] = []  # a declaration lives as long as its object


def make_torchvision_importable() -> None:
    """Declare torchvision's missing operators, if it cannot be imported for the lack of them."""
    try:
        importlib.import_module("torchvision")
    except ModuleNotFoundError:
        return
    except RuntimeError:
        import torch

        library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for operator in _MISSING_OPERATORS:
            library.define(operator + _SIGNATURE)  # type: ignore[no-untyped-call]
        _DECLARATIONS.append(library)

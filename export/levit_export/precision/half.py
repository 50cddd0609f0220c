"""A form of the fused network in half precision: weights, activations and every operation between them.

The network is cast before it is traced, so that the graph holds the casts and every engine runs the same numbers.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from levit_deploy.errors import ExportError
from levit_export.request import Precision

DTYPES = {Precision.FP16: torch.float16, Precision.BF16: torch.bfloat16}
# What may stay in float32: a branch as a whole, as a cast between two of its layers would lose what the island is for.
_BRANCHES = ("stem", "attention", "mlp", "head")


@dataclass(frozen=True, slots=True, kw_only=True)
class CastRecord:
    """What the cast did to the weights: how many there are, how many became 0, and which modules were left out."""

    weights: int
    underflowed: int
    islands: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {"weights": self.weights, "underflowed": self.underflowed, "float32_modules": list(self.islands)}


class ProductHardSwish(nn.Module):
    """Hard-swish as a hard-sigmoid and a product: TensorRT's parser takes no operator HardSwish in bfloat16."""

    def forward(self, x: Tensor) -> Tensor:
        return x * F.hardsigmoid(x)


def cast_network(form: nn.Module, precision: Precision, islands: Sequence[str] = ()) -> tuple[nn.Module, CastRecord]:
    """A copy of `form` in `precision`, the branches named in `islands` in float32 between casts.

    Raises ExportError when a weight is beyond what the precision can hold.
    """
    dtype = DTYPES[precision]
    network = copy.deepcopy(form)
    if precision is Precision.BF16:
        _replace_hard_swish(network)
    kept = [network.get_submodule(path) for path in islands]
    kept_tensors = {id(tensor) for module in kept for tensor in _tensors(module).values()}
    cast = {name: tensor for name, tensor in _tensors(network).items() if id(tensor) not in kept_tensors}
    record = CastRecord(
        weights=sum(tensor.numel() for tensor in cast.values()),
        underflowed=sum(int(((tensor != 0) & (tensor.to(dtype) == 0)).sum()) for tensor in cast.values()),
        islands=tuple(islands),
    )
    for name, tensor in cast.items():
        if not tensor.to(dtype).isfinite().all():
            raise ExportError(
                f"{name}: a weight of {float(tensor.abs().max()):.3g} is beyond {precision.value}, which ends at "
                f"{torch.finfo(dtype).max:.3g}: export with --precision fp32 or bf16"
            )
    network.to(dtype)
    for module, path in zip(kept, islands, strict=True):
        _restore(module, form.get_submodule(path))
        module.register_forward_pre_hook(lambda _, arguments: tuple(x.float() for x in arguments))
        module.register_forward_hook(lambda _, __, result: result.to(dtype))
    return network.eval(), record


def island_around(path: str) -> str | None:
    """The branch that has the module at `path`; None where that is no part of one."""
    names = path.split(".")
    for depth, name in enumerate(names, start=1):
        if name in _BRANCHES:
            return ".".join(names[:depth])
    return None


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _restore(module: nn.Module, original: nn.Module) -> None:
    """The float32 values again, exactly: a cast there and back would have rounded them."""
    module.float()
    for mine, theirs in zip(_tensors(module).values(), _tensors(original).values(), strict=True):
        mine.data.copy_(theirs)


def _replace_hard_swish(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.Hardswish):
            setattr(module, name, ProductHardSwish())
        else:
            _replace_hard_swish(child)

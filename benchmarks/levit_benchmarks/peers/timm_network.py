"""Networks of timm other than LeViT: seeded weights, normalisations really folded, multiply-accumulates counted.

timm's BatchNormAct2d is a BatchNorm2d with the activation inside. The speed test of LeViT's authors replaces every
BatchNorm2d by the identity without folding it, so with today's timm EfficientNet-B0 would lose 33 of its 49
activations, and be timed too fast. Here the statistics go into the convolution, and the activation stays.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from levit_benchmarks.bench.subject import Order
from levit_benchmarks.peers.compatibility import make_torchvision_importable
from levit_benchmarks.peers.reference import Reference, read_reference, write_reference
from levit_deploy.bundle import Golden
from levit_deploy.errors import ExportError
from levit_deploy.golden import PHOTOGRAPHS, golden_images
from levit_deploy.preprocessing import Preprocessing, normalize

if TYPE_CHECKING:
    from torch import Tensor, nn

SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TimmNetwork:
    """`model` is timm's name; `image_size` and `crop` (the share of the shorter side that is kept) its authors'."""

    network: str
    model: str
    image_size: int
    crop: float = 0.875
    packages: ClassVar[tuple[str, ...]] = ("timm",)
    folds_before_export: ClassVar[bool] = True
    weights: ClassVar[str] = f"untrained (seed {SEED}), batch statistics those of photographs"

    def network_of(self, order: Order) -> str:  # noqa: ARG002 (a LeViT is that of the order)
        """Its name."""
        return self.network

    def image_size_of(self, order: Order) -> int:  # noqa: ARG002
        """Side of its images in pixels."""
        return self.image_size

    def load(self, order: Order, folder: Path) -> nn.Module:
        """The unfused network; its float64 logits are left in `folder`."""
        import torch

        _, pixels = golden_images(self._contract)
        photographs = pixels[: len(PHOTOGRAPHS)]
        images = torch.from_numpy(normalize(photographs, self._contract))
        network = self.build(order)
        _randomize_norms(network, images)
        with torch.inference_mode():
            logits = copy.deepcopy(network).double()(images.double()).numpy()
        write_reference(folder, Golden(names=PHOTOGRAPHS, images=photographs, logits=logits))
        return network

    def build(self, order: Order) -> nn.Module:  # noqa: ARG002
        """The unfused network with timm's initial weights, in evaluation mode."""
        make_torchvision_importable()
        import timm
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            network: nn.Module = timm.create_model(self.model, pretrained=False)
        return network.eval()

    def fuse(self, network: nn.Module) -> nn.Module:
        """`network` changed in place: no normalisation that a convolution can take is left."""
        return fold_normalizations(network)

    def macs(self, order: Order, network: nn.Module) -> int:  # noqa: ARG002
        """Multiply-accumulates of one image."""
        return count_macs(network, self.image_size)

    def reference(self, order: Order, folder: Path) -> Reference:  # noqa: ARG002
        """What its logits must be."""
        return read_reference(folder, self._contract)

    @property
    def _contract(self) -> Preprocessing:
        return Preprocessing(image_size=self.image_size, resize_shorter_side=math.floor(self.image_size / self.crop))


def fold_normalizations(network: nn.Module) -> nn.Module:
    """Fold every batch normalisation that follows a convolution into it, in float64; its activation is kept.

    In place. Raises ExportError if one is left.
    """
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    for parent in list(network.modules()):
        for (first, layer), (second, norm) in pairwise(list(parent.named_children())):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, first, fuse_conv_bn_eval(layer.double(), norm.double()).float())
                setattr(parent, second, getattr(norm, "act", nn.Identity()))
    left = [name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)]
    if left:
        raise ExportError(f"{left[0]} and {len(left) - 1} more normalisations follow no convolution")
    return network


def count_macs(network: nn.Module, image_size: int) -> int:
    """Multiply-accumulates of every convolution and matrix product that one image really passes through.

    PyTorch's counter sees the operations and counts two for each multiply-accumulate. It does not know attention as
    the CPU has it in one operation, so the network runs without numbers, where attention is made of its products.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    shapes = copy.deepcopy(network).to("meta")
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        shapes(torch.empty(1, 3, image_size, image_size, device="meta"))
    return int(counter.get_total_flops()) // 2


def _randomize_norms(network: nn.Module, images: Tensor) -> None:
    """Gains and shifts in which a wrong fold shows, and the statistics that `images` really have.

    With timm's initial statistics (0 and 1) activations would fade, and folding would change next to nothing.
    """
    import torch
    from torch import nn

    generator = torch.Generator().manual_seed(SEED)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.weight.uniform_(0.5, 1.5, generator=generator)
            norm.bias.uniform_(-0.5, 0.5, generator=generator)
            norm.momentum = None  # the plain average; of one batch, so that batch
            norm.train()
        network(images)
    network.eval()

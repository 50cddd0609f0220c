"""Random networks, images for them, and the rung that a candidate makes: what the tests of the bound share."""

from __future__ import annotations

import copy
from functools import cache

import torch
from torch import Tensor, nn

from levit_deploy.golden import golden_images
from levit_deploy.initialization import randomize, sample_images
from levit_deploy.model import Levit, create_model
from levit_deploy.parity import Rung, compare_logits
from levit_deploy.preprocessing import normalize, preprocessing_for
from levit_deploy.rounding import logit_bounds

# Only the smallest variant at its own resolution: the others would cost minutes and show the same.
SIDES = {"128S": 224, "128": 96, "192": 80, "256": 64, "384": 48}


@cache
def random_model(arch: str, image_size: int, num_classes: int = 1000, seed: int = 0) -> Levit:
    """Float32, in evaluation; shared, so no test may change it."""
    model = create_model(arch, image_size=image_size, num_classes=num_classes)
    randomize(model, seed)
    return model.eval()


def golden(image_size: int) -> Tensor:
    contract = preprocessing_for("untrained", image_size)
    return torch.from_numpy(normalize(golden_images(contract)[1], contract)).double()


def random_images(image_size: int, count: int, seed: int = 11) -> Tensor:
    return sample_images(count, image_size, torch.Generator().manual_seed(seed))


@torch.no_grad()
def logits_and_bounds(model: Levit, images: Tensor) -> tuple[Tensor, tuple[float, ...]]:
    reference = copy.deepcopy(model).double()
    logits = reference(images)
    return logits, tuple(logit_bounds(reference, images, logits).tolist())


@torch.no_grad()
def rung_of(candidate: nn.Module, images: Tensor, truth: tuple[Tensor, tuple[float, ...]]) -> Rung:
    logits, bounds = truth
    comparison = compare_logits(logits.numpy(), candidate(images.float()).numpy())
    return Rung(
        stage="candidate",
        batch_size=len(images),
        images=tuple(range(len(bounds))),
        comparison=comparison,
        bounds=bounds,
    )

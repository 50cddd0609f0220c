"""Bundles whose golden logits are true, so that engines prove themselves on them; they take microseconds."""

import fixtures_bundle
import numpy as np
from fixtures_bundle import CLASSES

from levit_deploy.architectures import config_for
from levit_deploy.bundle import GOLDEN, Golden
from levit_deploy.preprocessing import normalize, preprocessing_for


def proven(make_bundle, name="bundle", *, error=0.0, classes=CLASSES, arch="128S", **options):
    """A bundle of `fixtures_bundle.SIDE` pixels that says it is LeViT-`arch`; `error` is added to the last logit."""
    side = fixtures_bundle.SIDE
    images = np.random.default_rng(1).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    means = normalize(images, preprocessing_for("untrained", side)).astype(np.float64).mean(axis=(2, 3))
    logits = means @ np.resize(fixtures_bundle.WEIGHTS, (3, classes)).astype(np.float64)
    assert logits.shape == (2, classes)
    logits[-1, -1] += error
    members = {GOLDEN: Golden(names=("first", "second"), images=images, logits=logits).to_bytes()}
    config = config_for(arch, num_classes=classes, image_size=side)
    return make_bundle(name, classes=classes, members=members, config=config, **options)

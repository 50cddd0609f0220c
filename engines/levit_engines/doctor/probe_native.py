"""The smallest LeViT that there is on our own kernels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from levit_engines.doctor import sample
from levit_engines.doctor.probe import IMPORT, OPEN, RUN


def attempt(_engine: str, at: Callable[[str], None]) -> object:
    """The sample's numbers from a LeViT whose tokens are the sample's features, so that its head has the last word."""
    # Here, because the probes of other engines load this module too.
    from levit_deploy.architectures import LevitConfig
    from levit_engines.native.library import Network, load_library
    from levit_engines.native.parameters import shapes

    at(IMPORT)
    library = load_library()
    at(OPEN)
    width = 16
    windows = np.lib.stride_tricks.sliding_window_view(sample.IMAGE[0, 0], sample.KERNEL.shape[2:])
    features = np.maximum(np.einsum("yxij,kij->kyx", windows, sample.KERNEL[:, 0]), 0).ravel()
    config = LevitConfig(
        arch="sample",
        embed_dims=(width, width, width),
        heads=(1, 1, 1),
        depths=(1, 1, 1),
        key_dim=width,
        num_classes=sample.EXPECTED.size,
        image_size=64,
    )
    values = {path: np.zeros(shape, np.float32) for path, shape in shapes(config).items()}
    values["stages.2.downsample.attention.projection.bias"][: features.size] = features
    values["head.weight"][:, : features.size] = sample.WEIGHTS.T
    network = Network(library, config, list(values.values()), threads=1)
    at(RUN)
    return network.run(np.zeros((1, 3, config.image_size, config.image_size), np.float32))

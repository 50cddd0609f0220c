"""Which tests need the compiled kernels: skipped where the installation found no C++ compiler, never in CI."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from levit_engines.native.library import library_path

needs_kernels = pytest.mark.skipif(
    not library_path().is_file() and "CI" not in os.environ,
    reason="levit-deploy was installed without a C++ compiler: apt-get install g++, and install it again",
)


def save_without_bias_of_one_key(file: Path) -> Path:
    """A LeViT-128S whose last stage, of one token at 64 pixels, adds zeros to its scores, as a trained one does.

    Then onnxsim leaves out all that goes into the softmax.
    """
    import torch
    from safetensors.torch import save_file

    from levit_deploy.checkpoints import state_dict_for_timm
    from levit_deploy.initialization import randomize
    from levit_deploy.model import create_model

    model = create_model("128S", image_size=64)
    randomize(model, seed=0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("stages.2.blocks") and name.endswith("attention.bias.table"):
                parameter.zero_()
    save_file({name: tensor.contiguous() for name, tensor in state_dict_for_timm(model).items()}, file)
    return file

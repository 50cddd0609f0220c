"""TensorRT and TensorRT-RTX: one code path for both. Importing this loads neither of them, and no CUDA."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from levit_engines.tensorrt.refusals import REFUSED_FLAGS

if TYPE_CHECKING:
    from levit_deploy.bundle import Bundle
    from levit_engines.built import BuildRequest, Built
    from levit_engines.bundle_runner import BundleRunner
    from levit_engines.progress import OnProgress

__all__ = ["REFUSED_FLAGS", "build", "open_runner"]


def build(
    bundle: Bundle,
    engine: str,
    request: BuildRequest,
    on_progress: OnProgress | None = None,
) -> Built:
    """Build the plan of `bundle` with "tensorrt" or "tensorrt-rtx"; see `building.build` for what is raised."""
    from levit_engines.tensorrt import building

    return building.build(bundle, engine, request, on_progress)


def open_runner(bundle: Bundle, engine: str, threads: int | None = None) -> BundleRunner:
    """The plan of `engine` in `bundle`, loaded on the GPU; see `runner.TensorRTRunner` for what is raised.

    Kernels are kept where the environment says; see `kernels.kernel_folder`.
    """
    from levit_engines.tensorrt.kernels import kernel_folder
    from levit_engines.tensorrt.runner import TensorRTRunner

    return TensorRTRunner(bundle, engine, threads=threads, kernel_folder=kernel_folder(os.environ))

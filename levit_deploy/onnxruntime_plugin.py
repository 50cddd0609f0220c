"""TensorRT-RTX in ONNX Runtime: a provider that comes as a package of its own, and must be registered first."""

from __future__ import annotations

import ctypes
import importlib
from pathlib import Path
from typing import Any

from levit_deploy.errors import EnvironmentIncompleteError
from levit_deploy.messages import short_message

RTX_PROVIDER = "NvTensorRTRTXExecutionProvider"
RTX_PACKAGE = "onnxruntime_ep_nv_tensorrt_rtx"
OLDEST_RUNTIME = (1, 24)
_INSTALL = 'pip install "levit-deploy[rtx-onnxruntime]"'
_DRIVER_LIBRARIES = ("libcuda.so.1", "libnvidia-ml.so.1")


def rtx_devices(runtime: Any) -> list[Any]:
    """The GPUs that the provider can use, never none, once it is registered with `runtime`, which is ONNX Runtime.

    Raises EnvironmentIncompleteError, naming what is missing: the package, a newer ONNX Runtime, the driver, a GPU.
    """
    if tuple(int(part) for part in runtime.__version__.split(".")[:2]) < OLDEST_RUNTIME:
        raise EnvironmentIncompleteError(
            f"ONNX Runtime {runtime.__version__} is too old for {RTX_PROVIDER}, which takes 1.24 or later, that is for "
            f"Python 3.11 or later: {_INSTALL}"
        )
    try:
        package = importlib.import_module(RTX_PACKAGE)
    except ImportError as error:
        raise EnvironmentIncompleteError(f"{RTX_PROVIDER} cannot be imported ({error}): {_INSTALL}") from error
    if not _devices(runtime):
        _register(runtime, Path(package.get_library_path()))
    devices = _devices(runtime)
    if not devices:
        raise EnvironmentIncompleteError(
            f"{RTX_PROVIDER} cannot start here: the driver shows it no GPU of compute capability 8.6, 8.9, or 12.0 and "
            "later; levit-doctor lists the GPUs"
        )
    return devices


def _devices(runtime: Any) -> list[Any]:
    return [device for device in runtime.get_ep_devices() if device.ep_name == RTX_PROVIDER]


def _register(runtime: Any, library: Path) -> None:
    try:
        # CUDA's runtime comes with the package, but nothing tells the system's loader where to find it.
        for cuda_runtime in library.parent.glob("libcudart.so.*"):
            ctypes.CDLL(str(cuda_runtime), mode=ctypes.RTLD_GLOBAL)
        runtime.register_execution_provider_library(RTX_PROVIDER, str(library))
    except Exception as error:  # ONNX Runtime's exceptions have no base class of their own
        said = short_message(str(error).rpartition("with error: ")[2])  # before that stands a long path
        if "already registered" in said:
            return
        missing = [name for name in _DRIVER_LIBRARIES if name in said]
        reason = f"{missing[0]} is missing, which comes with NVIDIA's driver" if missing else said
        raise EnvironmentIncompleteError(f"{RTX_PROVIDER} cannot start here: {reason}") from error

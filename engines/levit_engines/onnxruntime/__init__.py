"""ONNX Runtime: on the CPU, on NVIDIA GPUs through CUDA or TensorRT, and its graph optimised ahead of time."""

from __future__ import annotations

from levit_engines.onnxruntime.opening import open_runner
from levit_engines.onnxruntime.optimized import build

__all__ = ["build", "open_runner"]

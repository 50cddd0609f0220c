"""OpenVINO on the CPU: the bundle's graph compiled when it is opened, or the compiled network that levit-build kept."""

from __future__ import annotations

from levit_engines.openvino.blob import build
from levit_engines.openvino.opening import open_runner

__all__ = ["build", "open_runner"]

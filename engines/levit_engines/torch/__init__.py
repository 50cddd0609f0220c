"""PyTorch on the CPU: the fused network rebuilt from the bundle's graph, eagerly or through torch.compile.

Importing this loads no PyTorch.
"""

from __future__ import annotations

from levit_engines.torch.opening import open_runner

__all__ = ["open_runner"]

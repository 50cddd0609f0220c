"""LeViT on kernels of our own, compiled when levit-deploy was installed: one library, no package needed.

Importing this loads no library.
"""

from __future__ import annotations

from levit_engines.native.opening import open_runner

__all__ = ["open_runner"]

"""How a build tells what it is doing."""

from __future__ import annotations

from collections.abc import Callable

OnProgress = Callable[[str, int, int], None]
"""Called with the phase, the steps done, and the steps there are."""

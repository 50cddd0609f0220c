"""pip for tests that install or download something: only a missing network skips them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# What pip writes each time it finds nobody to answer.
_NOBODY_ANSWERS = "connection broken by"


def run_pip(*arguments: object, python: Path | str = sys.executable) -> None:
    """Run pip with these arguments."""
    command = [str(python), "-m", "pip", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    if result.returncode and _NOBODY_ANSWERS in result.stderr:
        pytest.skip(f"needs a package index: {' '.join(command)}")
    assert result.returncode == 0, f"{' '.join(command)}: {result.stderr}"

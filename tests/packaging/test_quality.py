"""Linters, types and the direction of imports: what the repository promises of its own code."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(sys.executable).parent
CHECKS = {
    "lint": (SCRIPTS / "ruff", "check", "."),
    "format": (SCRIPTS / "ruff", "format", "--check", "."),
    "types": (SCRIPTS / "mypy",),
    "imports flow one way": (SCRIPTS / "lint-imports",),
}


@pytest.mark.slow
@pytest.mark.parametrize("command", CHECKS.values(), ids=CHECKS.keys())
def test_check_is_clean(command):
    result = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr

"""What levit-classify prints, to compare with what levit-run does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from levit_engines.cli import classify

SAME_KERNELS = 1e-6  # relative; kernels of one thread and of several add in another order


def python_document(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    """The document of levit-classify with these arguments, on one thread."""
    assert classify.main([*map(str, arguments), "--json", "--threads", "1"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def require_alike(found: Any, expected: Any, *, tolerance: float = SAME_KERNELS) -> None:
    """The same document, but for the last digits of probabilities: `tolerance` is relative."""
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key, value in expected.items():
            require_alike(found[key], value, tolerance=tolerance)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            require_alike(one, other, tolerance=tolerance)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=tolerance)
    else:
        assert found == expected

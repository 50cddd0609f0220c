"""Exports that several tests look at: each made once for all processes of a test session, and altered by none."""

from __future__ import annotations

import fcntl
import hashlib
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from levit_export.pipeline import ExportReport, run_export
from levit_export.request import ExportRequest

Exporter = Callable[..., ExportReport]
"""Options of an ExportRequest -> the finished export."""


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """A temporary folder that all processes of this test session have in common."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Only one process at a time is within."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def make_exporter(factory: pytest.TempPathFactory) -> Exporter:
    """Export with some options, or return what the same options gave before, in whichever process."""
    folder = shared_folder(factory) / "exports"
    folder.mkdir(exist_ok=True)
    done: dict[str, ExportReport] = {}

    def export_once(**options: object) -> ExportReport:
        key = repr(sorted(options.items()))
        if key not in done:
            name = hashlib.sha256(key.encode()).hexdigest()[:16]
            kept = folder / f"{name}.pickle"
            with locked(folder / f"{name}.lock"):
                if not kept.exists():
                    kept.write_bytes(pickle.dumps(run_export(ExportRequest(output=folder / name, **options))))
            done[key] = pickle.loads(kept.read_bytes())
        return done[key]

    return export_once

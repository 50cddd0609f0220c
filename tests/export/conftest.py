"""Exports that several tests look at: one a variant, made once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from levit_export.pipeline import ExportReport, run_export
from levit_export.request import ExportRequest

Exporter = Callable[..., ExportReport]


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exporter:
    """Export with these options, or return what the same options gave before."""
    folder: Path = tmp_path_factory.mktemp("exports")
    done: dict[str, ExportReport] = {}

    def export_once(**options: object) -> ExportReport:
        key = repr(sorted(options.items()))
        if key not in done:
            request = ExportRequest(output=folder / f"bundle-{len(done)}", **options)
            done[key] = run_export(request)
        return done[key]

    return export_once

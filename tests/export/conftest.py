"""Exports that several tests look at."""

import pytest
from shared_exports import Exporter, make_exporter


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exporter:
    """Export with these options, or return what the same options gave before."""
    return make_exporter(tmp_path_factory)

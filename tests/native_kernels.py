"""Which tests need the compiled kernels: skipped where the installation found no C++ compiler, never in CI."""

from __future__ import annotations

import os

import pytest

from levit_engines.native.library import library_path

needs_kernels = pytest.mark.skipif(
    not library_path().is_file() and "CI" not in os.environ,
    reason="levit-deploy was installed without a C++ compiler: apt-get install g++, and install it again",
)

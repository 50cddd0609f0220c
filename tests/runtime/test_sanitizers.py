"""The unit tests and the fuzz targets under AddressSanitizer and UndefinedBehaviorSanitizer, threads under TSan.

Each fuzz target runs for some seconds; for an hour each there is levit_benchmarks.fuzzing (docs/how-to/runtime.md).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FUZZ = Path(__file__).parents[2] / "engines" / "runtime" / "fuzz"
FUZZ_TARGETS = sorted(path.stem for path in FUZZ.glob("fuzz_*.cpp"))
FUZZ_SECONDS = 5
UNIT_TESTS = "levit_tests"
DOCTEST = "#include <doctest/doctest.h>\n"


def run(*command: object, timeout: float = 400, **environment: str) -> subprocess.CompletedProcess[str]:
    options: dict[str, Any] = {"capture_output": True, "text": True, "check": False, "timeout": timeout}
    return subprocess.run([str(word) for word in command], env=os.environ | environment, **options)


def instrumented(program: Path, symbol: str) -> bool:
    return symbol in run("nm", program).stdout


@pytest.fixture(scope="module")
def doctest(missing: Callable[[str], None]) -> None:
    if subprocess.run(["c++", "-E", "-x", "c++", "-"], input=DOCTEST, text=True, capture_output=True).returncode != 0:
        missing("doctest is missing: apt-get install doctest-dev")


@pytest.fixture(scope="module")
def checked(
    build_runtime: Callable[..., None],
    doctest: None,
    missing: Callable[[str], None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Unit tests and fuzz targets, built with clang, libFuzzer and both sanitizers."""
    if shutil.which("clang++") is None:
        missing("clang is missing: apt-get install clang libclang-rt-14-dev")
    folder: Path = tmp_path_factory.mktemp("fuzz-build")
    build_runtime(folder, UNIT_TESTS, *FUZZ_TARGETS, preset="fuzz")
    return folder


@pytest.mark.slow
def test_no_error_of_memory_and_no_undefined_behaviour(checked: Path, small_bundle: Path) -> None:
    assert instrumented(checked / UNIT_TESTS, "__asan_init")
    assert instrumented(checked / UNIT_TESTS, "__ubsan_")
    shown = run(checked / UNIT_TESTS, UBSAN_OPTIONS="print_stacktrace=1", LEVIT_TEST_BUNDLE=str(small_bundle))
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "not run" not in shown.stdout


@pytest.mark.slow
@pytest.mark.parametrize("target", FUZZ_TARGETS)
def test_no_input_breaks(target: str, checked: Path, tmp_path: Path) -> None:
    found, seeds = tmp_path / "found", FUZZ / "seeds" / target
    found.mkdir()  # libFuzzer writes to the first folder
    assert any(seeds.iterdir())
    # The limit on memory is ASan's: libFuzzer takes its parent's peak for its own (getrusage, kept over exec).
    limits = [f"-max_total_time={FUZZ_SECONDS}", "-timeout=20", "-rss_limit_mb=0", "-malloc_limit_mb=2048"]
    options = ["-seed=1", "-print_final_stats=1", f"-artifact_prefix={tmp_path}/"]
    memory = {"ASAN_OPTIONS": "hard_rss_limit_mb=2048"}
    shown = run(checked / target, *limits, *options, found, seeds, timeout=FUZZ_SECONDS + 300, **memory)
    assert shown.returncode == 0, shown.stderr[-6000:]
    executions = re.search(r"number_of_executed_units:\s*(\d+)", shown.stderr)
    assert executions is not None
    assert int(executions.group(1)) > 10 * FUZZ_SECONDS


@pytest.mark.slow
def test_threads_do_not_race(
    build_runtime: Callable[..., None], doctest: None, small_bundle: Path, tmp_path: Path
) -> None:
    build_runtime(tmp_path, UNIT_TESTS, preset="tsan")
    assert instrumented(tmp_path / UNIT_TESTS, "__tsan_init")
    # ONNX Runtime's wheel is not instrumented: ThreadSanitizer cannot know what it locks.
    options = {"TSAN_OPTIONS": "ignore_noninstrumented_modules=1", "LEVIT_TEST_BUNDLE": str(small_bundle)}
    shown = run(tmp_path / UNIT_TESTS, "--test-case=*threads*", **options)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "not run" not in shown.stdout
    assert "test cases: 0 " not in " ".join(shown.stdout.split())

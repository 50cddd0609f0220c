"""The build itself: CTest, an install that others can use with CMake and pkg-config, and errors that say what to do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "engines" / "runtime"
CONSUMER = SOURCES / "tests" / "consumer"


def run(*command: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **options)


def test_every_test_of_ctest_passes(runtime: Any, small_bundle: Path) -> None:
    environment = os.environ | {"LEVIT_TEST_BUNDLE": str(small_bundle)}
    shown = run("ctest", "--test-dir", runtime.folder, "--output-on-failure", "--no-tests=error", env=environment)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    if os.environ.get("CI"):
        assert "unit" in shown.stdout, "doctest is missing: apt-get install doctest-dev"


@pytest.fixture(scope="module")
def installed(runtime: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    prefix: Path = tmp_path_factory.mktemp("installed")
    shown = run("cmake", "--install", runtime.folder, "--prefix", prefix)
    assert shown.returncode == 0, shown.stderr
    # Found beside the library, as on a device.
    (library,) = prefix.rglob("liblevit.so")
    (library.parent / "libonnxruntime.so.1").symlink_to((runtime.folder / "libonnxruntime.so.1").resolve())
    return prefix


def test_an_installed_levit_run_works_wherever_it_was_moved(
    installed: Path, small_bundle: Path, photographs: list[Path], tmp_path: Path
) -> None:
    shutil.copytree(installed, tmp_path / "moved", symlinks=True)
    shown = run(tmp_path / "moved" / "bin" / "levit-run", small_bundle, photographs[0])
    assert shown.returncode == 0, shown.stderr


def test_nothing_of_onnxruntime_is_installed(runtime: Any, tmp_path: Path) -> None:
    assert run("cmake", "--install", runtime.folder, "--prefix", tmp_path).returncode == 0
    assert not [path for path in tmp_path.rglob("*") if "onnxruntime" in path.name.lower()]


@pytest.mark.slow
def test_a_project_finds_it_with_cmake(
    installed: Path, small_bundle: Path, photographs: list[Path], tmp_path: Path
) -> None:
    configured = run("cmake", "-S", CONSUMER, "-B", tmp_path, f"-DCMAKE_PREFIX_PATH={installed}")
    assert configured.returncode == 0, configured.stderr
    built = run("cmake", "--build", tmp_path)
    assert built.returncode == 0, built.stdout + built.stderr
    check_consumer(tmp_path / "consumer", small_bundle, photographs[0], installed)


@pytest.mark.slow
def test_a_program_finds_it_with_pkg_config(
    installed: Path, small_bundle: Path, photographs: list[Path], tmp_path: Path
) -> None:
    if shutil.which("pkg-config") is None:
        if os.environ.get("CI"):
            pytest.fail("pkg-config is missing: apt-get install pkg-config")
        pytest.skip("pkg-config is missing: apt-get install pkg-config")
    (file,) = installed.rglob("levit.pc")
    environment = os.environ | {"PKG_CONFIG_PATH": str(file.parent)}
    flags = run("pkg-config", "--cflags", "--libs", "levit", env=environment).stdout.split()
    consumer = tmp_path / "consumer"
    built = run("c++", "-std=c++17", CONSUMER / "main.cpp", *flags, "-o", consumer)
    assert built.returncode == 0, built.stderr
    check_consumer(consumer, small_bundle, photographs[0], installed)
    camera = tmp_path / "camera"
    built = run("cc", "-std=c99", SOURCES / "examples" / "camera.c", *flags, "-o", camera)
    assert built.returncode == 0, built.stderr
    (library,) = installed.rglob("liblevit.so")
    shown = run(camera, small_bundle, env=os.environ | {"LD_LIBRARY_PATH": str(library.parent)})
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count(" ms\n") == 10


def check_consumer(consumer: Path, bundle: Path, photograph: Path, installed: Path) -> None:
    (library,) = installed.rglob("liblevit.so")
    environment = os.environ | {"LD_LIBRARY_PATH": str(library.parent)}
    shown = run(consumer, bundle, photograph, env=environment)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.strip() in (bundle / "labels.txt").read_text().splitlines()
    assert run(consumer, bundle, bundle / "labels.txt", env=environment).returncode == 3


def test_without_headers_cmake_says_what_to_do(runtime: Any, tmp_path: Path) -> None:
    shown = run("cmake", "-S", ROOT, "-B", tmp_path, f"-DONNXRUNTIME_ROOT={tmp_path}")
    assert shown.returncode != 0
    said = " ".join(shown.stderr.split())
    assert "onnxruntime_c_api.h is missing" in said
    assert "tools/fetch_onnxruntime_headers.sh" in said
    assert "ONNXRUNTIME_ROOT" in said


def test_headers_that_are_too_old_are_told(runtime: Any, tmp_path: Path) -> None:
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "onnxruntime_c_api.h").write_text("#define ORT_API_VERSION 12\n")
    shown = run("cmake", "-S", ROOT, "-B", tmp_path / "build", f"-DONNXRUNTIME_ROOT={tmp_path}")
    assert shown.returncode != 0
    assert "1.17 or later is needed" in " ".join(shown.stderr.split())


def test_without_image_libraries_cmake_names_the_packages(runtime: Any, tmp_path: Path) -> None:
    shown = run("cmake", "-S", ROOT, "-B", tmp_path, "-DCMAKE_DISABLE_FIND_PACKAGE_JPEG=ON")
    assert shown.returncode != 0
    assert "apt-get install libjpeg-dev libpng-dev" in " ".join(shown.stderr.split())


def test_the_version_is_that_of_the_package() -> None:
    (version,) = re.findall(r"^project\(levit VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text(), re.MULTILINE)
    assert version == metadata.version("levit-deploy")


def test_the_sources_are_formatted() -> None:
    tool = Path(sys.executable).with_name("clang-format")
    if not tool.exists():
        if os.environ.get("CI"):
            pytest.fail("clang-format is missing: it is in the extra 'test'")
        pytest.skip('clang-format is missing: pip install "levit-deploy[test]"')
    files = [path for path in SOURCES.rglob("*") if path.suffix in (".h", ".hpp", ".c", ".cpp")]
    assert len(files) > 30
    shown = run(tool, "--dry-run", "--Werror", *files)
    wrong = {line.partition(":")[0] for line in shown.stderr.splitlines() if "clang-format-violations" in line}
    assert not wrong
    assert shown.returncode == 0, shown.stderr

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


@pytest.mark.parametrize("package", ["JPEG", "PNG", "OpenSSL"])
def test_without_a_library_cmake_names_the_packages(runtime: Any, package: str, tmp_path: Path) -> None:
    shown = run("cmake", "-S", ROOT, "-B", tmp_path, f"-DCMAKE_DISABLE_FIND_PACKAGE_{package}=ON")
    assert shown.returncode != 0
    assert "apt-get install libjpeg-dev libpng-dev libssl-dev" in " ".join(shown.stderr.split())


@pytest.mark.slow
def test_the_static_library_links_with_cmake_and_with_pkg_config(
    build_runtime: Any, runtime: Any, small_bundle: Path, photographs: list[Path], tmp_path: Path
) -> None:
    build, prefix = tmp_path / "build", tmp_path / "prefix"
    build_runtime(build, BUILD_SHARED_LIBS="OFF", LEVIT_BUILD_CLI="OFF", LEVIT_BUILD_TESTS="OFF")
    shown = run("cmake", "--install", build, "--prefix", prefix)
    assert shown.returncode == 0, shown.stderr
    library = {"LEVIT_ONNXRUNTIME": str((runtime.folder / "libonnxruntime.so.1").resolve())}

    shown = run("cmake", "-S", CONSUMER, "-B", tmp_path / "cmake", f"-DCMAKE_PREFIX_PATH={prefix}")
    assert shown.returncode == 0, shown.stderr
    shown = run("cmake", "--build", tmp_path / "cmake")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    shown = run(tmp_path / "cmake" / "consumer", small_bundle, photographs[0], env=os.environ | library)
    assert (shown.returncode, shown.stderr) == (0, "")

    (file,) = prefix.rglob("levit.pc")
    environment = os.environ | {"PKG_CONFIG_PATH": str(file.parent)}
    flags = run("pkg-config", "--static", "--cflags", "--libs", "levit", env=environment).stdout.split()
    assert {"-lcrypto", "-lz"} <= set(flags)
    built = run("cc", "-std=c99", SOURCES / "examples" / "camera.c", *flags, "-o", tmp_path / "camera")
    assert built.returncode == 0, built.stderr
    shown = run(tmp_path / "camera", small_bundle, env=os.environ | library)
    assert shown.returncode == 0, shown.stderr


def test_in_the_project_of_somebody_else_only_the_library_is_built(runtime: Any, tmp_path: Path) -> None:
    lines = [
        "cmake_minimum_required(VERSION 3.22)",
        "project(other LANGUAGES C CXX)",
        f'add_subdirectory("{ROOT}" levit)',
        "foreach(target levit levit-run levit_c_test)",
        "  if(TARGET ${target})",
        '    message(STATUS "target ${target}")',
        "  endif()",
        "endforeach()",
        'message(STATUS "type <${CMAKE_BUILD_TYPE}> shared <${BUILD_SHARED_LIBS}>")',
    ]
    (tmp_path / "CMakeLists.txt").write_text("\n".join(lines))
    shown = run("cmake", "-S", tmp_path, "-B", tmp_path / "build", f"-DPython3_EXECUTABLE={sys.executable}")
    assert shown.returncode == 0, shown.stderr
    assert "-- type <> shared <>\n" in shown.stdout
    assert re.findall("-- target (.*)", shown.stdout) == ["levit"]
    shown = run("cmake", "--install", tmp_path / "build", "--prefix", tmp_path / "prefix")
    assert shown.returncode == 0, shown.stderr
    assert not [path for path in (tmp_path / "prefix").rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["liblevit.so", "levit-run"])
def test_what_is_shipped_is_hardened(runtime: Any, name: str) -> None:
    shown = run("readelf", "--wide", "--file-header", "--program-headers", "--dynamic", runtime.folder / name)
    assert shown.returncode == 0, shown.stderr
    assert "GNU_RELRO" in shown.stdout
    assert re.search(r"\(FLAGS_1\).*\bNOW\b", shown.stdout)
    assert re.search(r"Type:\s+DYN", shown.stdout)
    assert re.search(r"GNU_STACK.*\bRW\b", shown.stdout)
    if name == "levit-run":
        assert re.search(r"\(FLAGS_1\).*\bPIE\b", shown.stdout)
    assert "__stack_chk_fail" in run("nm", "-D", runtime.folder / name).stdout


def test_reads_of_the_library_are_bounded_by_the_c_library(runtime: Any) -> None:
    assert re.search(r"\bU __\w+_chk\b", run("nm", "-D", runtime.folder / "liblevit.so").stdout)


def test_the_version_is_that_of_the_package() -> None:
    (version,) = re.findall(r"^project\(levit VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text(), re.MULTILINE)
    assert version == metadata.version("levit-deploy")


def test_the_sources_are_formatted() -> None:
    tool = Path(sys.executable).with_name("clang-format")
    if not tool.exists():
        if os.environ.get("CI"):
            pytest.fail("clang-format is missing: it is in the extra 'test'")
        pytest.skip('clang-format is missing: pip install "levit-deploy[test]"')
    folders = (SOURCES, ROOT / "engines" / "native")
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in (".h", ".hpp", ".c", ".cpp")]
    assert len(files) > 30
    shown = run(tool, "--dry-run", "--Werror", *files)
    wrong = {line.partition(":")[0] for line in shown.stderr.splitlines() if "clang-format-violations" in line}
    assert not wrong
    assert shown.returncode == 0, shown.stderr

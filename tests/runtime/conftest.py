"""The edge runtime, built once for all tests of a session, and bundles for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, NoReturn

import pytest
from fixtures_bundle import clean_environment
from shared_exports import Exporter, locked, make_exporter, shared_folder

ROOT = Path(__file__).parents[2]
HEADERS_OF_PACKAGES = ("jpeglib.h", "png.h", "openssl/evp.h")
TOOLS = ("cmake", "c++", "cc")
PACKAGES = "g++ cmake make libjpeg-dev libpng-dev libssl-dev doctest-dev pkg-config"
HEADERS = ROOT / "build" / "onnxruntime-headers"

Builder = Callable[..., None]


@dataclass(frozen=True)
class Runtime:
    """A build of the edge runtime, with its tests."""

    folder: Path

    @property
    def library(self) -> Path:
        return self.folder / "liblevit.so"

    def run(self, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
        """levit-run with these arguments."""
        command = [self.folder / "levit-run", *arguments]
        defaults: dict[str, Any] = {"capture_output": True, "text": True, "check": False, "timeout": 120}
        return subprocess.run([str(word) for word in command], **(defaults | options))

    def run_in_onnxruntime(self, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
        """levit-run with these arguments, and in ONNX Runtime on every CPU."""
        return self.run(*arguments, "--provider", "cpu", **options)


def cannot_build() -> str | None:
    """What keeps the runtime from being built here, and how to mend it, or None."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if not any(map(shutil.which, ("make", "ninja"))):
        missing.append("make")
    if not missing:
        missing = [header for header in HEADERS_OF_PACKAGES if not _has_header(f"cstdio>\n#include <{header}")]
    if missing:
        return f"{', '.join(missing)} missing: apt-get install {PACKAGES}"
    found = "ONNXRUNTIME_ROOT" in os.environ or HEADERS.is_dir()
    if not found and not _has_header("onnxruntime/onnxruntime_c_api.h"):
        return "ONNX Runtime's headers are missing: run tools/fetch_onnxruntime_headers.sh, or set ONNXRUNTIME_ROOT"
    return None


def _has_header(name: str) -> bool:
    search = ["c++", "-E", "-x", "c++", "-"]
    return subprocess.run(search, input=f"#include <{name}>\n", text=True, capture_output=True).returncode == 0


def configure_and_build(folder: Path, *targets: str, preset: str | None = None, **variables: str) -> None:
    """Configure the repository in `folder` and build `targets`, or all; fails the test with what the tools said."""
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    # What NVIDIA has installed here must not decide what is tested.
    settings = {"Python3_EXECUTABLE": sys.executable, "LEVIT_TENSORRT": "OFF"}
    if preset is None:
        settings["CMAKE_BUILD_TYPE"] = "Release"
    # A warning is an error with the compiler of CI; other compilers warn of other things.
    settings["LEVIT_DEVELOPER_MODE"] = "ON" if os.environ.get("CI") else "OFF"
    settings |= variables
    definitions = [f"-D{name}={value}" for name, value in settings.items()]
    processes = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", "2")
    chosen = [] if preset is None else ["--preset", preset]
    for command in (
        ["cmake", "-S", str(ROOT), "-B", str(folder), *chosen, *generator, *definitions],
        ["cmake", "--build", str(folder), "--parallel", processes, "--target", *(targets or ("all",))],
    ):
        result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        if result.returncode != 0:
            pytest.fail(f"{' '.join(command)}\n{result.stdout[-6000:]}\n{result.stderr[-6000:]}", pytrace=False)


def skip_or_fail(reason: str) -> NoReturn:
    """What is missing here skips the test; in CI it fails, as everything is installed there."""
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def missing() -> Callable[[str], NoReturn]:
    """Ends a test for want of a tool that the reason names."""
    return skip_or_fail


@pytest.fixture(scope="session")
def toolchain() -> None:
    """Skips where the runtime cannot be built; fails in CI."""
    reason = cannot_build()
    if reason is not None:
        skip_or_fail(reason)


@pytest.fixture(scope="session")
def build_runtime(toolchain: None) -> Builder:
    """Builds targets of the repository in a folder, with a preset or variables of CMake."""
    return configure_and_build


@pytest.fixture(scope="session")
def runtime(toolchain: None, tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    """The runtime, built in a temporary folder that the test processes share, or in LEVIT_RUNTIME_BUILD."""
    if "LEVIT_RUNTIME_BUILD" in os.environ:
        folder = Path(os.environ["LEVIT_RUNTIME_BUILD"]).resolve()
        configure_and_build(folder)
        return Runtime(folder)
    shared = shared_folder(tmp_path_factory)
    folder, built = shared / "runtime-build", shared / "runtime-build" / "built"
    with locked(shared / "runtime-build.lock"):
        if not built.exists():
            configure_and_build(folder)
            built.touch()
    return Runtime(folder)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exporter:
    """Export with these options, or return what the same options gave before."""
    return make_exporter(tmp_path_factory)


@pytest.fixture(scope="session")
def small_bundle(exported: Exporter) -> Path:
    """A real LeViT-128S of 32 pixels, batches of 1 to 4."""
    return exported(arch="128S", image_size=32, simplify=False, batch=(1, 4)).bundle.path


@pytest.fixture(scope="session")
def photographs() -> list[Path]:
    """The real photographs in the package."""
    folder = Path(str(resources.files("levit_deploy"))) / "data" / "photographs"
    return sorted(folder.glob("*.jpg"))


@pytest.fixture
def empty_home(tmp_path: Path) -> Mapping[str, str]:
    """The environment of a process whose home and temporary folders are empty, with no CI variable."""
    for folder in ("home", "temporary"):
        (tmp_path / folder).mkdir()
    return clean_environment(tmp_path)

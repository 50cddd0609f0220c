"""What the wheel needs compiled: the kernels of the engine `native`. Without a C++ compiler it has no such engine.

The kernels are compiled once for each instruction set; which is used is decided where they run, so the wheel is good
for every CPU of the architecture.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES = Path("engines", "native")
LIBRARY = Path("levit_engines", "native", "liblevit_native.so.1")
COMPILERS = ("c++", "g++", "clang++")
OFF = "LEVIT_WITHOUT_NATIVE"
# As engines/native/CMakeLists.txt has them.
COMMON = ("-std=c++17", "-O3", "-ffp-contract=off", "-fPIC", "-fvisibility=hidden", "-DNDEBUG", "-Wno-psabi")
KERNELS = ("-fno-math-errno", "-fno-trapping-math")
AVX512 = ("-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq", "-mfma")
INSTRUCTION_SETS = {
    "kernels_avx2": ("-mavx2", "-mfma"),
    "kernels_avx512": AVX512,
    "kernels_avx512_vnni": (*AVX512, "-mavx512vnni"),
    "kernels_amx": (*AVX512, "-mavx512vnni", "-mamx-tile", "-mamx-int8"),
}


class NativeLibraryHook(BuildHookInterface[Any]):
    """Compiles the library into the wheel, or, for an editable installation, beside the Python modules."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """See hatchling's documentation of build hooks."""
        if sys.platform != "linux" or os.environ.get(OFF):
            return
        compiler = find_compiler()
        if compiler is None:
            self.app.display_warning(f"no C++ compiler ({', '.join(COMPILERS)}): the engine `native` is left out")
            return
        self._folder = tempfile.TemporaryDirectory()
        library = Path(self._folder.name, LIBRARY.name)
        build_library(Path(self.root, SOURCES), library, compiler)
        if version == "editable":
            shutil.copyfile(library, Path(self.root, "engines", LIBRARY))
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
        build_data["force_include"][str(library)] = str(LIBRARY)

    def finalize(self, *_: object) -> None:
        """Remove what was only needed to build."""
        if hasattr(self, "_folder"):
            self._folder.cleanup()


def find_compiler() -> str | None:
    """CXX, or the first compiler of C++ that is installed."""
    return os.environ.get("CXX") or next((name for name in COMPILERS if shutil.which(name)), None)


def build_library(sources: Path, library: Path, compiler: str) -> None:
    """Compile every file of `sources` and link `library`; subprocess.CalledProcessError when that fails."""
    objects = [library.with_name(f"{file.stem}.o") for file in sorted(sources.glob("src/*.cpp"))]

    def compile_one(target: Path) -> None:
        subprocess.run(
            [compiler, *flags(target.stem), *includes(sources), "-c", source(target), "-o", target], check=True
        )

    def source(target: Path) -> Path:
        return sources / "src" / f"{target.stem}.cpp"

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(compile_one, objects))
    subprocess.run([compiler, "-shared", *objects, "-o", library, "-pthread", "-s"], check=True)


def includes(sources: Path) -> Iterator[str]:
    """Where headers are."""
    yield f"-I{sources / 'src'}"
    yield f"-I{sources / 'include'}"


def flags(name: str) -> Iterator[str]:
    """How the file called `name` is compiled."""
    yield from COMMON
    if name.startswith("kernels_"):
        yield from KERNELS
        if platform.machine() == "x86_64":
            yield from INSTRUCTION_SETS.get(name, ())

"""Installed engine packages, by their metadata: nothing is imported."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable, Mapping
from importlib import metadata

from levit_engines.catalogue import CATALOGUE

_RELEVANT = re.compile(
    r"torch|onnx|onnxsim|onnxruntime(-.+)?|ort-.+|openvino(-.+)?|tensorrt(-.+)?|cuda-(bindings|python)|nvidia-.+"
)
_CUDA_WHEEL = re.compile(r"^(?P<family>(?:nvidia|tensorrt|onnxruntime)(?:-.+?)?)-cu(?P<major>\d{2})(?:-.+)?$")
# Since CUDA 13 the names of CUDA's own libraries say no release. That of all of them is the version of its runtime;
# where that is not installed, of another that is counted alike.
_CUDA_LIBRARY = re.compile(
    r"nvidia-(cublas|cuda-(cccl|crt|culibos|cupti|nvcc|nvrtc|nvtx|opencl|runtime)|cufft|cufile|curand|cusolver|cusparse"
    r"|npp|nvfatbin|nvjitlink|nvjpeg|nvml-dev|nvtx|nvvm)"
)
_COUNTED_AS_CUDA = ("nvidia-cuda-runtime", "nvidia-cublas", "nvidia-cuda-nvrtc", "nvidia-nvjitlink")
# What each is imported as; the release of CUDA is left away in the names. No engine is made of the first two.
_MODULES: Mapping[str, str] = {
    "onnx": "onnx",
    "onnxsim": "onnxsim",
    **{name: module for engine in CATALOGUE.values() for module, name in engine.distributions.items()},
}
MODULES = tuple(sorted(set(_MODULES.values())))


def installed_packages() -> tuple[dict[str, str], tuple[str, ...]]:
    """Versions of the packages that matter by normalised name, and the builds of ONNX Runtime among them."""
    versions: dict[str, str] = {}
    builds = []
    for distribution in metadata.distributions():
        name = normalized(distribution.name or "")
        if not _RELEVANT.fullmatch(name) or name in versions:
            continue
        versions[name] = distribution.version or "unknown"
        if name.startswith(("onnxruntime", "ort-")) and _writes_into(distribution, "onnxruntime"):
            builds.append(name)
    return versions, tuple(sorted(builds))


def found_modules(names: Iterable[str] = MODULES) -> frozenset[str]:
    """Those of `names` that Python would find."""
    return frozenset(name for name in names if _is_found(name))


def normalized(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def cuda_wheel(name: str) -> tuple[str, str] | None:
    """Family and CUDA major of a wheel for one CUDA only: "tensorrt-rtx-cu13-libs" gives ("tensorrt-rtx", "13")."""
    match = _CUDA_WHEEL.match(name)
    return (match["family"], match["major"]) if match else None


def cuda_wheels(packages: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Family and CUDA major of every package that is for one CUDA only."""
    versions = (packages[name] for name in _COUNTED_AS_CUDA if name in packages)
    unnamed = next(versions, "").partition(".")[0]
    found = {name: cuda_wheel(name) for name in sorted(packages)}
    if unnamed:
        found |= {name: (name, unnamed) for name in found if _CUDA_LIBRARY.fullmatch(name)}
    return {name: wheel for name, wheel in found.items() if wheel is not None}


def packages_of(module: str, packages: Mapping[str, str], onnxruntime_builds: tuple[str, ...]) -> tuple[str, ...]:
    """The installed packages that `module` is imported from."""
    if module == "onnxruntime":
        return onnxruntime_builds
    return tuple(name for name in sorted(packages) if _module_of(name) == module)


def _module_of(name: str) -> str | None:
    wheel = cuda_wheel(name)
    if wheel is not None and re.search(r"-cu\d+$", name):
        return _MODULES.get(wheel[0])
    return _MODULES.get(name)


def _writes_into(distribution: metadata.Distribution, folder: str) -> bool:
    # Where no list of files was kept, only the name is left to judge by.
    files = distribution.files
    return normalized(distribution.name) == folder if files is None else any(file.parts[0] == folder for file in files)


def _is_found(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # no parent package; or a module that is loaded without a specification
        return False

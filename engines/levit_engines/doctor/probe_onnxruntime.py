"""The test graph on a provider of ONNX Runtime, with no help from the CPU unless that is the provider."""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from levit_deploy.errors import EnvironmentIncompleteError
from levit_deploy.onnxruntime_plugin import RTX_PACKAGE, RTX_PROVIDER, rtx_devices
from levit_deploy.onnxruntime_session import CPU_PROVIDER, GPU_PROVIDERS, SessionSettings, open_session
from levit_engines.catalogue import CATALOGUE
from levit_engines.doctor import sample
from levit_engines.doctor.probe import DEVICE, GRAPH, IMPORT, OPEN, PROVIDER, RUN


def attempt(engine: str, at: Callable[[str], None]) -> object:
    """The network's numbers from ONNX Runtime."""
    provider = CATALOGUE[engine].provider or CPU_PROVIDER
    at(IMPORT)
    runtime: Any = importlib.import_module("onnxruntime")
    # Still the import: of a build whose files another one took along, an empty package is left.
    available = runtime.get_available_providers()
    at(PROVIDER)
    if provider == RTX_PROVIDER:
        importlib.import_module(RTX_PACKAGE)
        at(DEVICE)
        rtx_devices(runtime)
    elif provider not in available:
        raise EnvironmentIncompleteError(f"this build has no {provider}, only {', '.join(available)}")
    at(GRAPH)
    graph = sample.sample_graph()
    at(OPEN)
    try:
        session = open_session(graph, SessionSettings(threads=1, provider=provider), name="the test graph")
    except EnvironmentIncompleteError as error:
        missing = missing_library(Path(runtime.__file__).parent, engine) if provider in GPU_PROVIDERS else ""
        raise EnvironmentIncompleteError(f"{provider} cannot start: {missing}" if missing else str(error)) from error
    at(RUN)
    return session.run([sample.OUTPUT], {sample.INPUT: sample.IMAGE})[0]


def missing_library(package: Path, engine: str) -> str:
    """What the system's loader says of the library of the engine's provider; nothing where it can be loaded.

    ONNX Runtime itself writes that to its log only.
    """
    name = engine.removeprefix("onnxruntime-")
    folder = package / "capi"
    try:
        ctypes.CDLL(str(folder / "libonnxruntime_providers_shared.so"), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(folder / f"libonnxruntime_providers_{name}.so"))
    except OSError as error:
        return str(error)
    return ""

"""The provider that is a package of its own, where there is none, and where what it needs is missing."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from fixtures_bundle import tiny_model

from levit_deploy import onnxruntime_session
from levit_deploy.errors import EnvironmentIncompleteError
from levit_deploy.onnxruntime_plugin import RTX_PACKAGE, RTX_PROVIDER, rtx_devices
from levit_deploy.onnxruntime_session import (
    CPU_PROVIDER,
    CUDA_PROVIDER,
    TENSORRT_PROVIDER,
    TF32_VARIABLE,
    SessionSettings,
    import_onnxruntime,
    open_session,
)


class Runtime:
    """ONNX Runtime as far as the provider concerns it: `gpus` are there once the library is registered."""

    def __init__(self, *, version: str = "1.32.0", gpus: int = 1, failure: str | None = None) -> None:
        self.__version__ = version
        self.registered: list[tuple[str, str]] = []
        self._gpus, self._failure = gpus, failure

    def register_execution_provider_library(self, name: str, path: str) -> None:
        self.registered.append((name, path))
        if self._failure is not None:
            raise RuntimeError(self._failure)

    def get_ep_devices(self) -> list[Any]:
        names = ["CPUExecutionProvider", *([RTX_PROVIDER] * self._gpus if self.registered else [])]
        return [SimpleNamespace(ep_name=name) for name in names]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The library of a package that is importable, but holds nothing."""
    module = ModuleType(RTX_PACKAGE)
    library = tmp_path / "provider.so"
    module.__dict__["get_library_path"] = lambda: str(library)
    monkeypatch.setitem(sys.modules, RTX_PACKAGE, module)
    return library


def test_it_is_registered_once_and_gives_its_gpus(package: Path) -> None:
    runtime = Runtime(gpus=2)
    for _ in range(2):
        assert [device.ep_name for device in rtx_devices(runtime)] == [RTX_PROVIDER] * 2
    assert runtime.registered == [(RTX_PROVIDER, str(package))]


@pytest.mark.parametrize(
    ("runtime", "said"),
    [
        (Runtime(version="1.23.2"), "ONNX Runtime 1.23.2 is too old"),
        (Runtime(gpus=0), "no GPU of compute capability 8.6, 8.9, or 12.0 and later"),
        (Runtime(gpus=0, failure="EP library is already registered under X"), "no GPU of compute capability"),
        (Runtime(failure="a.so with error: libcuda.so.1: cannot open"), "libcuda.so.1 is missing, which comes with NV"),
        (Runtime(failure="libnvidia-ml.so.1: cannot open"), "libnvidia-ml.so.1 is missing, which comes with NVIDIA's"),
        (Runtime(failure="[ONNXRuntimeError] : 1 : FAIL : something\nelse"), "cannot start here: something else$"),
        (Runtime(failure=f"Failed to load /{'x' * 300} with error: undefined symbol"), "start here: undefined symbol$"),
    ],
    ids=["old", "no GPU", "twice", "no driver", "half a driver", "other", "long path"],
)
def test_what_is_missing_is_named(runtime: Runtime, said: str, package: Path) -> None:
    with pytest.raises(EnvironmentIncompleteError, match=said) as caught:
        rtx_devices(runtime)
    assert caught.value.exit_code == 4


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, RTX_PACKAGE, None)
    with pytest.raises(EnvironmentIncompleteError, match=r'pip install "levit-deploy\[rtx-onnxruntime\]"'):
        open_session(tiny_model(), SessionSettings(provider=RTX_PROVIDER))


def test_a_session_is_opened_by_device(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = import_onnxruntime()
    if not hasattr(runtime, "get_ep_devices"):
        pytest.skip("this ONNX Runtime opens no session by device")
    # Real devices, but of the CPU; the check of who runs the graph comes later.
    monkeypatch.setattr(onnxruntime_session, "rtx_devices", lambda runtime: runtime.get_ep_devices())
    settings = SessionSettings(provider=RTX_PROVIDER)
    session = onnxruntime_session._session(runtime, tiny_model(), runtime.SessionOptions(), settings)
    assert session.get_providers() == [CPU_PROVIDER]


@pytest.mark.parametrize(
    ("provider", "expected"), [(RTX_PROVIDER, "0"), (TENSORRT_PROVIDER, "0"), (CUDA_PROVIDER, None)]
)
def test_tf32_is_off_where_only_a_variable_says_so(
    provider: str, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, RTX_PACKAGE, None)
    monkeypatch.setenv(TF32_VARIABLE, "to be put back")
    monkeypatch.delenv(TF32_VARIABLE)
    for chosen in (expected, "1"):
        with pytest.raises(EnvironmentIncompleteError):
            open_session(tiny_model(), SessionSettings(provider=provider))
        assert os.environ.get(TF32_VARIABLE) == chosen
        monkeypatch.setenv(TF32_VARIABLE, "1")

"""The session: threads it takes, providers it insists on, refusals on one line, and silence."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from fixtures_bundle import SIDE, Runs, tiny_model

from levit_deploy import onnxruntime_session
from levit_deploy.errors import BundleError, ConfigError, EnvironmentIncompleteError
from levit_deploy.onnxruntime_session import (
    TELEMETRY_VARIABLE,
    SessionSettings,
    disable_telemetry,
    open_session,
)


def test_importing_the_module_does_not_import_onnxruntime(run_python: Runs) -> None:
    code = "import sys, levit_deploy.onnxruntime_session; sys.exit('onnxruntime' in sys.modules)"
    assert run_python(code).returncode == 0


@pytest.mark.parametrize("as_path", [False, True], ids=["bytes", "path"])
def test_session_runs_with_the_threads_asked_for(as_path: bool, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny_model())
    session = open_session(path if as_path else tiny_model(), SessionSettings(threads=1))
    (logits,) = session.run(["logits"], {"images": np.ones((1, 3, SIDE, SIDE), np.float32)})
    assert logits.shape == (1, 5)
    assert session.get_session_options().intra_op_num_threads == 1


def test_session_takes_the_available_threads_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime_session, "available_threads", lambda: 3)
    assert open_session(tiny_model()).get_session_options().intra_op_num_threads == 3


@pytest.mark.parametrize("threads", [0, -1])
def test_too_few_threads_are_refused(threads: int) -> None:
    with pytest.raises(ConfigError, match=f"threads {threads}"):
        open_session(tiny_model(), SessionSettings(threads=threads))


@pytest.mark.parametrize(
    "model",
    [b"", b"junk", b"\x08\x07", tiny_model()[:-9], tiny_model().replace(b"MatMul", b"MutMal")],
    ids=["empty", "junk", "no graph", "cut", "unknown operator"],
)
def test_a_refused_model_is_one_line_with_its_name_and_silent(model: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BundleError, match=r"^some/model\.onnx: ONNX Runtime refuses it \(\w") as caught:
        open_session(model, name="some/model.onnx")
    assert "\n" not in str(caught.value)
    assert "[ONNXRuntimeError]" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"absent\.onnx"):
        open_session(tmp_path / "absent.onnx")


def test_missing_package_names_the_extra(run_python: Runs) -> None:
    code = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "from levit_deploy.errors import EnvironmentIncompleteError\n"
        "from levit_deploy.onnxruntime_session import open_session\n"
        "try: open_session(b'')\n"
        "except EnvironmentIncompleteError as error: print(error.exit_code, error)\n"
    )
    assert 'pip install "levit-deploy[cpu]"' in run_python(code).stdout


def test_an_absent_provider_is_refused_and_not_replaced() -> None:
    with pytest.raises(EnvironmentIncompleteError, match="no MadeUpExecutionProvider"):
        open_session(tiny_model(), SessionSettings(provider="MadeUpExecutionProvider"))


def test_a_provider_that_cannot_run_the_graph_is_refused() -> None:
    import onnxruntime

    provider = "AzureExecutionProvider"  # comes with the CPU wheels and runs none of our operators
    if provider not in onnxruntime.get_available_providers():
        pytest.skip(f"this ONNX Runtime has no {provider}")
    with pytest.raises(EnvironmentIncompleteError, match=f"{provider} cannot run the whole graph"):
        open_session(tiny_model(), SessionSettings(provider=provider))


def test_telemetry_is_off_unless_the_user_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TELEMETRY_VARIABLE, raising=False)
    disable_telemetry()
    assert os.environ[TELEMETRY_VARIABLE] == "1"
    monkeypatch.setenv(TELEMETRY_VARIABLE, "0")
    disable_telemetry()
    assert os.environ[TELEMETRY_VARIABLE] == "0"

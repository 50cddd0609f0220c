"""Which engine runs a bundle where none is asked for."""

from __future__ import annotations

import pytest
from fixtures_bundle import BundleFactory

from levit_engines import default_engine
from levit_engines.native.library import INSTRUCTION_SETS

OURS = {"graph": {"form": "convolutions"}}


@pytest.fixture
def supports(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A CPU with AMX; tests give it other instruction sets."""
    monkeypatch.setattr("levit_engines.engine_choice._instruction_sets", lambda: INSTRUCTION_SETS)
    return monkeypatch


def test_the_native_kernels_run_what_they_are_the_fastest_for(
    supports: pytest.MonkeyPatch, make_bundle: BundleFactory
) -> None:
    assert default_engine(make_bundle("fp32", **OURS)) == "native"
    assert default_engine(make_bundle("int8", precision="int8", **OURS)) == "native"


@pytest.mark.parametrize(
    "changes",
    [{}, {**OURS, "precision": "fp16"}, {**OURS, "precision": "int8", "target": "gpu"}],
    ids=["another's graph", "fp16", "int8 for GPUs"],
)
def test_onnx_runtime_runs_all_else(
    supports: pytest.MonkeyPatch, make_bundle: BundleFactory, changes: dict[str, object]
) -> None:
    assert default_engine(make_bundle(**changes)) == "onnxruntime"


@pytest.mark.parametrize("names", [(), ("avx2", "portable"), ("portable",)])
def test_where_they_were_not_measured_to_be_the_fastest_onnx_runtime_runs(
    supports: pytest.MonkeyPatch, make_bundle: BundleFactory, names: tuple[str, ...]
) -> None:
    supports.setattr("levit_engines.engine_choice._instruction_sets", lambda: names)
    assert default_engine(make_bundle(**OURS)) == "onnxruntime"


def test_without_onnx_runtime_they_run_on_every_cpu(supports: pytest.MonkeyPatch, make_bundle: BundleFactory) -> None:
    supports.setattr("levit_engines.engine_choice.find_spec", lambda name: None)
    supports.setattr("levit_engines.engine_choice._instruction_sets", lambda: ("portable",))
    assert default_engine(make_bundle(**OURS)) == "native"
    supports.setattr("levit_engines.engine_choice._instruction_sets", tuple)
    assert default_engine(make_bundle("other", **OURS)) == "onnxruntime"

"""onnxsim runs apart, and its result has to earn its place."""

import sys

import numpy as np
import onnx
import onnxruntime
import pytest

from levit_deploy.errors import EnvironmentIncompleteError
from levit_export import simplification
from levit_export.simplification import simplify


def model_from(text):
    return onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 18]> levit (float[1,4] images) => (float[1,4] logits) {text}'
    )


@pytest.fixture
def reducible():
    """Two constants that are added first: onnxsim does it once and for all."""
    return model_from(
        "<float[4] a_weight = {1,2,3,4}, float[4] b_weight = {4,3,2,1}>"
        "{ sum = Add(a_weight, b_weight) logits = Mul(images, sum) }"
    )


@pytest.fixture
def minimal():
    return model_from("<float[4] a_weight = {1,2,3,4}> { logits = Mul(images, a_weight) }")


def named(model):
    for node in model.graph.node:
        node.name = f"levit/{node.op_type}"
    return model


def child(code):
    return (sys.executable, "-c", code)


def test_smaller_result_is_kept_and_equal(reducible):
    result = simplify(named(reducible), static=True)
    assert result.kept
    assert "nodes 2 -> 1" in result.reason
    assert [node.op_type for node in result.model.graph.node] == ["Mul"]
    images = np.arange(4, dtype=np.float32)[None]
    outputs = [
        onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"images": images})[0]
        for model in (reducible, result.model)
    ]
    np.testing.assert_array_equal(*outputs)


def test_result_that_is_not_smaller_is_dropped(minimal):
    result = simplify(named(minimal), static=True)
    assert not result.kept
    assert result.model is minimal
    assert "nothing to remove" in result.reason


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "signal 11"),
        ("raise RuntimeError('no such operator')", "no such operator"),
        ("import sys; sys.exit(7)", "no message"),
        ("pass", "wrote no graph"),
    ],
    ids=["crash", "exception", "exit code", "no file"],
)
def test_failure_of_the_child_costs_nothing_but_its_result(minimal, code, reason):
    result = simplify(named(minimal), static=True, command=child(code))
    assert not result.kept
    assert result.model is minimal
    assert reason in result.reason


def test_child_that_never_ends_is_stopped(minimal, monkeypatch):
    monkeypatch.setattr(simplification, "TIMEOUT_S", 1.0)
    result = simplify(named(minimal), static=True, command=child("import time; time.sleep(60)"))
    assert "did not finish" in result.reason


def test_missing_package_is_an_error_that_names_the_extra(minimal):
    with pytest.raises(EnvironmentIncompleteError, match=r"levit-deploy\[export\].*--no-simplify"):
        simplify(named(minimal), static=True, command=child("import sys; sys.exit(64)"))


def test_result_that_breaks_a_promise_is_dropped(reducible):
    code = (
        "import onnx, sys; m = onnx.load(sys.argv[1]); m.graph.node[0].op_type = 'Identity'; "
        "del m.graph.node[0].input[1]; onnx.save(m, sys.argv[2])"
    )
    result = simplify(named(reducible), static=True, command=child(code))
    assert not result.kept
    assert "Identity" in result.reason


def test_child_does_not_import_from_the_working_folder(minimal, tmp_path, monkeypatch):
    (tmp_path / "onnxsim.py").write_text("raise SystemExit('imported a stray file')")
    monkeypatch.chdir(tmp_path)
    assert "nothing to remove" in simplify(named(minimal), static=True).reason

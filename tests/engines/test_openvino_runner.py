"""OpenVINO: what it opens, what it refuses, the compiled network in a bundle, and that it tells nobody."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from fixtures_bundle import CLASSES, SIDE, WEIGHTS, BundleFactory, Runs, files_below, tiny_model
from numpy.typing import NDArray

from levit_deploy.bundle import MODEL, Bundle, open_bundle
from levit_deploy.bundle_engines import add_engine
from levit_deploy.engine_entry import EngineEntry
from levit_deploy.errors import BundleError, ConfigError, RunnerError
from levit_deploy.machine import describe_machine
from levit_engines.built import BuildRequest
from levit_engines.openvino import build, open_runner
from levit_engines.openvino.blob import BLOB
from levit_engines.openvino.compiling import OPTIONS

ENGINE = "openvino"


def some_images(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(size=(count, 3, SIDE, SIDE)).astype(np.float32)


def with_blob(bundle: Bundle, **changes: Any) -> Bundle:
    """`bundle` with its compiled network; `changes` are fields of the entry."""
    built = build(bundle, ENGINE, BuildRequest())
    entry = EngineEntry(
        files=tuple(built.files),
        model_sha256=bundle.manifest.members[MODEL].sha256,
        libraries=built.libraries,
        requirements=built.requirements,
        profile=built.profile,
        options=built.options,
        network=built.network,
        machine={},
        build_seconds=0.1,
        verified="not",
    )
    return add_engine(bundle, ENGINE, replace(entry, **changes), built.files)


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_logits_are_those_of_the_graph(dtype: str, make_bundle: BundleFactory) -> None:
    bundle = make_bundle(dtype=dtype, batch="batch", maximum=4)
    with open_runner(bundle, ENGINE, 1) as runner:
        if dtype == "float32":
            images: NDArray[Any] = some_images(3)
            expected = images.astype(np.float64).mean(axis=(2, 3)) @ WEIGHTS
        else:
            images = np.full((3, SIDE, SIDE, 3), 255, np.uint8)
            contract = bundle.manifest.preprocessing
            expected = np.repeat([(1 - np.array(contract.mean)) / np.array(contract.std) @ WEIGHTS], 3, axis=0)
        np.testing.assert_allclose(runner.infer(images), expected, rtol=1e-4, atol=1e-5)


def test_it_states_version_threads_and_float32(make_bundle: BundleFactory) -> None:
    with open_runner(make_bundle(), ENGINE, 1) as runner:
        assert runner.provenance["threads"] == "1"
        assert runner.provenance["inference_precision"] == "f32"
        assert runner.provenance["graph"] == MODEL
        assert "-" in runner.provenance["engine_version"]  # the build, not the release alone
        assert runner.notes == ()


def test_values_inside_can_be_read(make_bundle: BundleFactory) -> None:
    bundle = make_bundle(batch="batch", maximum=4)
    model = onnx.load_model_from_string(bundle.read(MODEL))
    model.graph.output.append(onnx.ValueInfoProto(name="flat"))
    images = some_images(2)
    with open_runner(bundle, ENGINE, 1) as runner:
        values = runner.read_values(model.SerializeToString(), ["flat"], images)
    np.testing.assert_allclose(values["flat"], images.mean(axis=(2, 3)), atol=1e-6)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (tiny_model(batch=2), r"inputs are images float32 \[2, 3, 32, 32\], manifest.json says images float32 \[1, "),
        (tiny_model(batch="batch"), r"inputs are images float32 \['dynamic', 3"),
        (tiny_model(dtype="uint8"), "inputs are images uint8"),
        (tiny_model(classes=CLASSES + 1), r"outputs are logits float32 \[1, 6\]"),
        (tiny_model().replace(b"logits", b"scores"), "outputs are scores"),
        (b"no graph", "OpenVINO refuses it"),
        (tiny_model().replace(b"Flatten", b"Flattex"), "OpenVINO refuses it .*Flattex"),
    ],
    ids=["batch", "dynamic", "type", "classes", "name", "garbage", "unknown operator"],
)
def test_another_graph_than_promised_is_refused(model: bytes, said: str, make_bundle: BundleFactory) -> None:
    with pytest.raises(BundleError, match=rf"model\.onnx: {said}") as caught:
        open_runner(make_bundle(members={MODEL: model}), ENGINE, 1)
    assert "\n" not in str(caught.value)


def test_an_altered_model_is_never_loaded(make_bundle: BundleFactory) -> None:
    bundle = make_bundle()
    (bundle.path / MODEL).write_bytes(tiny_model() + b"\0")
    with pytest.raises(BundleError, match=r"model\.onnx: altered"):
        open_runner(bundle, ENGINE, 1)


def test_a_failure_inside_the_engine_is_one_line(make_bundle: BundleFactory, capfd: pytest.CaptureFixture[str]) -> None:
    with (
        open_runner(make_bundle(), ENGINE, 1) as runner,
        pytest.raises(RunnerError, match=r"^OpenVINO failed: ") as caught,
    ):
        runner._run(some_images(2))  # two images for a graph that takes one
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_the_compiled_network_is_used_with_any_number_of_threads(make_bundle: BundleFactory) -> None:
    bundle = with_blob(make_bundle(batch="batch", maximum=4))
    images = some_images(3)
    with open_runner(make_bundle("plain", batch="batch", maximum=4), ENGINE, 1) as runner:
        expected = runner.infer(images)
    for threads in (1, 2):
        with open_runner(bundle, ENGINE, threads) as runner:
            assert runner.provenance["graph"].endswith(BLOB)
            assert runner.provenance["inference_precision"] == "f32"
            assert runner.notes == ()
            np.testing.assert_allclose(runner.infer(images), expected, atol=1e-6)


def test_a_compiled_network_says_what_it_needs(make_bundle: BundleFactory) -> None:
    built = build(make_bundle(batch=2), ENGINE, BuildRequest())
    assert set(built.requirements) == {"architecture", "instruction set"}
    assert set(built.libraries) == {"openvino"}
    assert built.options == OPTIONS
    assert (built.profile.minimum, built.profile.maximum) == (2, 2)
    assert built.network["nodes"] == sum(built.network["operators"].values()) > 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"libraries": {"openvino": "2020.1"}}, "it was made for openvino 2020.1, here is"),
        ({"requirements": {}}, "it was made for architecture nothing, here is"),
        ({"model_sha256": "0" * 64}, "another model.onnx"),
        ({"options": {**OPTIONS, "INFERENCE_PRECISION_HINT": "bf16"}}, "other options"),
    ],
    ids=["version", "nothing said", "graph", "options"],
)
def test_one_that_does_not_fit_is_left_alone_and_said(
    changes: dict[str, Any], reason: str, make_bundle: BundleFactory
) -> None:
    bundle = with_blob(make_bundle())
    entry = replace(bundle.manifest.engines[ENGINE], **changes)
    bundle = Bundle(bundle.path, replace(bundle.manifest, engines={ENGINE: entry}))
    with open_runner(bundle, ENGINE, 1) as runner:
        assert runner.provenance["graph"] == MODEL
        (note,) = runner.notes
        assert reason in note
        assert "levit-build" in note
        assert runner.infer(some_images(1)).shape == (1, CLASSES)


def test_one_of_another_cpu_is_left_alone(make_bundle: BundleFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = with_blob(make_bundle())
    machine = describe_machine()
    monkeypatch.setattr("levit_engines.cpu_build.describe_machine", lambda: replace(machine, cpu_flags=("sve",)))
    with open_runner(bundle, ENGINE, 1) as runner:
        assert "here is sve" in runner.notes[0]


def test_one_that_openvino_refuses_is_left_alone(make_bundle: BundleFactory) -> None:
    bundle = make_bundle()
    whole = build(bundle, ENGINE, BuildRequest())
    files = {BLOB: whole.files[BLOB][:100]}
    entry = with_blob(make_bundle("other")).manifest.engines[ENGINE]
    bundle = add_engine(bundle, ENGINE, replace(entry, files=(BLOB,)), files)
    with open_runner(bundle, ENGINE, 1) as runner:
        assert "OpenVINO refuses it" in runner.notes[0]
        assert "\n" not in runner.notes[0]


def test_an_altered_one_is_never_loaded(make_bundle: BundleFactory) -> None:
    bundle = with_blob(make_bundle())
    (file,) = bundle.manifest.engines[ENGINE].files
    content = bytearray((bundle.path / file).read_bytes())
    content[-20] ^= 1
    (bundle.path / file).write_bytes(content)
    with pytest.raises(BundleError, match=rf"{BLOB}: altered") as caught:
        open_runner(bundle, ENGINE, 1)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    "request_", [BuildRequest(max_batch=1), BuildRequest(workspace_mib=1), BuildRequest(compute_capabilities=("8.9",))]
)
def test_options_of_other_engines_are_refused(request_: BuildRequest, make_bundle: BundleFactory) -> None:
    with pytest.raises(ConfigError, match=r"^--.*: openvino "):
        build(make_bundle(), ENGINE, request_)


INFER = """
import sys, time
from pathlib import Path
import numpy as np
seen = []
def hook(event, arguments):
    if event.startswith(("socket.", "urllib.", "os.fork", "os.posix_spawn", "subprocess.")):
        seen.append(event)
sys.addaudithook(hook)
{opening}
with runner:
    runner.infer(np.zeros((1, 3, 32, 32), np.float32))
time.sleep(1)
print(seen, "openvino_telemetry" in sys.modules)
"""
OURS = "from levit_engines import open_runner\nrunner = open_runner(Path(sys.argv[1]), engine='openvino')"


def test_nothing_is_sent_and_nothing_is_written(make_bundle: BundleFactory, run_python: Runs, tmp_path: Path) -> None:
    result = run_python(INFER.format(opening=OURS), with_blob(make_bundle()).path)
    assert (result.stdout, result.stderr) == ("[] False\n", "")
    assert files_below(tmp_path) == []


def test_the_check_for_that_sees_what_openvino_does_by_itself(run_python: Runs, tmp_path: Path) -> None:
    # A proxy that refuses: whatever is sent stays on this machine.
    nowhere = {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    code = INFER.format(opening="import openvino, contextlib\nrunner = contextlib.nullcontext()").replace(
        "    runner.infer(np.zeros((1, 3, 32, 32), np.float32))", "    pass"
    )
    result = run_python(code, **nowhere)
    assert "True" in result.stdout, result.stderr
    if not files_below(tmp_path):
        pytest.skip("this OpenVINO writes and sends nothing by itself, so the check has nothing to see")
    assert "os.fork" in result.stdout


def test_the_companion_can_be_imported_afterwards(make_bundle: BundleFactory, run_python: Runs) -> None:
    code = f"import sys\nfrom pathlib import Path\n{OURS}\nimport openvino_telemetry\nprint('imported')"
    assert run_python(code, make_bundle().path).stdout == "imported\n"


def test_a_missing_package_names_the_extra(make_bundle: BundleFactory, run_python: Runs) -> None:
    code = """
import sys
from pathlib import Path
sys.modules["openvino"] = None
from levit_deploy.errors import EnvironmentIncompleteError
try:
    from levit_engines import open_runner
    open_runner(Path(sys.argv[1]), engine="openvino")
except EnvironmentIncompleteError as error:
    print(error.exit_code, error)
"""
    shown = run_python(code, make_bundle().path).stdout
    assert shown.startswith("4 OpenVINO cannot be imported")
    assert 'pip install "levit-deploy[openvino]"' in shown


def test_a_copied_bundle_keeps_its_compiled_network(make_bundle: BundleFactory, tmp_path: Path) -> None:
    shutil.copytree(with_blob(make_bundle()).path, tmp_path / "copy")
    with open_runner(open_bundle(tmp_path / "copy"), ENGINE, 1) as runner:
        assert runner.provenance["graph"].endswith(BLOB)

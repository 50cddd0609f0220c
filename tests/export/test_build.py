"""levit-build: an engine is added when it is proven, refused when it is not, and used only where it fits."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from fixtures_bundle import Runs
from onnx import numpy_helper

from levit_deploy.bundle import MANIFEST, MODEL, open_bundle, sha256_of
from levit_deploy.bundle_engines import add_engine
from levit_deploy.errors import BundleError, ConfigError, EnvironmentIncompleteError, ExportError, ParityError
from levit_engines import build, open_runner
from levit_engines.built import BuildRequest
from levit_engines.cli import build as command
from levit_engines.cli.classify import main as classify_main
from levit_engines.cli.verify import main as verify_main
from levit_engines.onnxruntime import optimized


@pytest.fixture
def bundle_path(exported: Any, tmp_path: Path) -> Path:
    """A bundle of its own, of LeViT-128S at 64 pixels for 1 to 3 images."""
    source = exported(arch="128S", image_size=64, batch=(1, 3), simplify=False).bundle.path
    return Path(shutil.copytree(source, tmp_path / "bundle"))


@pytest.fixture
def built_path(bundle_path: Path) -> Path:
    build(bundle_path, engine="onnxruntime")
    return bundle_path


def rewrite_entry(path: Path, **changes: Any) -> None:
    """Change the manifest's entry of the optimised graph, as another machine would have written it."""
    document = json.loads((path / MANIFEST).read_text())
    document["engines"]["onnxruntime"] |= changes
    (path / MANIFEST).write_text(json.dumps(document))


def test_the_optimised_graph_is_proven_and_used(bundle_path: Path) -> None:
    plain = open_runner(bundle_path, engine="onnxruntime")
    outcome = build(bundle_path, engine="onnxruntime")
    assert "12 golden images at batch 1, 2, 3" in outcome.entry.verified
    assert sum(outcome.entry.network["operators"].values()) == outcome.entry.network["nodes"]
    assert "HardSwish" not in outcome.entry.network["operators"]  # each is part of something else now
    outcome.bundle.verify()
    with open_runner(bundle_path, engine="onnxruntime") as runner:
        assert runner.provenance["graph"] == outcome.entry.files[0]
        assert runner.notes == ()
        images = np.random.default_rng(0).normal(size=(2, 3, 64, 64)).astype(np.float32)
        np.testing.assert_array_equal(runner.infer(images), plain.infer(images))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"libraries": {"onnxruntime": "1.20.0"}}, "made for onnxruntime 1.20.0, here is"),
        ({"requirements": {"architecture": "sparc", "instruction set": "vis3"}}, "made for architecture sparc"),
        ({"model_sha256": "0" * 64}, "made from another model.onnx"),
    ],
    ids=["other release", "other CPU", "other model"],
)
def test_an_optimised_graph_of_elsewhere_is_not_used_and_that_is_said(
    changes: dict[str, Any], reason: str, built_path: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rewrite_entry(built_path, **changes)
    with open_runner(built_path, engine="onnxruntime") as runner:
        assert runner.provenance["graph"] == MODEL
        assert reason in runner.notes[0]
    photograph = tmp_path / "photo.png"
    from PIL import Image

    Image.new("RGB", (80, 70), (10, 200, 90)).save(photograph)
    assert classify_main([str(built_path), str(photograph), "--engine", "onnxruntime"]) == 0
    assert reason in capfd.readouterr().err
    assert verify_main([str(built_path), "--engine", "onnxruntime"]) == 0
    assert reason in capfd.readouterr().err


WATCH_IMPORT = """
import os, sys
from pathlib import Path
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            print("telemetry", os.environ.get("ORT_DISABLE_TELEMETRY"))
sys.meta_path.insert(0, Watch())
from levit_engines import open_runner
open_runner(Path(sys.argv[1]), engine="onnxruntime")
"""


def test_telemetry_is_off_before_onnxruntime_is_loaded(built_path: Path, run_python: Runs) -> None:
    assert run_python(WATCH_IMPORT, built_path).stdout.splitlines()[0] == "telemetry 1"


@pytest.mark.parametrize("position", [0, 1], ids=["graph", "weights"])
def test_an_altered_engine_file_is_named(position: int, built_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = built_path / open_bundle(built_path).manifest.engines["onnxruntime"].files[position]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(BundleError, match=file.name):
        open_runner(built_path, engine="onnxruntime")
    assert verify_main([str(built_path)]) == 3
    assert file.name in capfd.readouterr().err


def test_an_engine_that_computes_something_else_never_enters_the_bundle(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (bundle_path / MANIFEST).read_bytes()
    original = optimized.build

    def wrong(*arguments: Any) -> Any:
        built = original(*arguments)
        graph = onnx.load_model_from_string(built.files["optimized.onnx"])
        bias = next(value for value in graph.graph.initializer if value.dims == [1000] or list(value.dims) == [1000])
        found = numpy_helper.to_array(bias, str(bundle_path)).copy() if not bias.external_data else None
        altered = np.full(1000, 7.0, np.float32) if found is None else found + 1.0
        bias.CopyFrom(numpy_helper.from_array(altered.astype(np.float32), bias.name))
        return replace(built, files={**built.files, "optimized.onnx": graph.SerializeToString()})

    monkeypatch.setattr("levit_engines.onnxruntime.build", wrong)
    with pytest.raises(ParityError, match="stage 'onnxruntime', batch 1"):
        build(bundle_path, engine="onnxruntime")
    assert (bundle_path / MANIFEST).read_bytes() == before
    assert not (bundle_path / "engines").exists()


def test_the_command_prints_one_document_and_refuses_a_second_build(
    bundle_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [str(bundle_path), "--engine", "onnxruntime"]
    assert command.main([*words, "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    entry = open_bundle(bundle_path).manifest.engines["onnxruntime"]
    assert document["entry"] == entry.to_json()
    for file, member in document["files"].items():
        assert sha256_of((bundle_path / file).read_bytes()) == member["sha256"]
    assert command.main(words) == 2
    assert "--overwrite" in capfd.readouterr().err
    assert command.main([*words, "--overwrite"]) == 0
    shown = capfd.readouterr().out
    assert "optimized.onnx" in shown
    assert "golden images" in shown


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--engine", "onnxruntime", "--provider", "cuda"], 2, "needs no building"),
        (["--engine", "openvino", "--provider", "cuda"], 2, "openvino has none"),
        (
            ["--engine", "onnxruntime", "--compute-capability", "8.9"],
            2,
            "--compute-capability: onnxruntime runs on the CPU",
        ),
        (["--engine", "onnxruntime", "--workspace-mib", "64"], 2, "--workspace-mib: onnxruntime has no workspace"),
        (["--engine", "onnxruntime", "--max-batch", "2"], 2, "--max-batch: onnxruntime takes every batch size"),
        (["--engine", "tensorrt-rtx", "--useDLACore", "0"], 2, "--useDLACore: no LeViT runs whole on a DLA"),
        (["--engine", "tensorrt-rtx", "--fp16"], 2, "--fp16: precision lives in the bundle"),
        (["--engine", "tensorrt-rtx", "--versionCompatible"], 2, "runs with the version that built it"),
        (["--engine", "tensorrt-rtx", "--stripWeights"], 2, "one proven whole"),
        (["--engine", "tensorrt-rtx", "--compute-capability", "8.6,,8.9"], 2, "is not a list"),
        (["--engine", "fastest"], 2, "invalid choice"),
        ([], 2, "--engine"),
    ],
)
def test_what_cannot_be_built_is_refused_by_name(
    words: list[str], code: int, message: str, bundle_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    try:
        found = command.main([str(bundle_path), *words])
    except SystemExit as stopped:
        found = int(str(stopped.code))
    assert found == code
    assert message in capfd.readouterr().err


def test_no_bundle_and_an_altered_bundle_are_bad_input(
    bundle_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert command.main([str(tmp_path / "nothing"), "--engine", "onnxruntime"]) == 3
    (bundle_path / MODEL).write_bytes(b"something else")
    assert command.main([str(bundle_path), "--engine", "onnxruntime"]) == 3
    assert MODEL in capfd.readouterr().err


def test_unknown_engines_and_options_are_refused_in_python(bundle_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown engine 'fastest'"):
        build(bundle_path, engine="fastest")
    with pytest.raises(ConfigError, match="needs no building"):
        build(bundle_path, engine="torch-eager")
    with pytest.raises(ConfigError, match="--min-batch"):
        build(bundle_path, engine="onnxruntime", request=BuildRequest(min_batch=1))


def test_an_engine_that_was_not_built_says_how(bundle_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EnvironmentIncompleteError, match=r"levit-build .* --engine tensorrt-rtx"):
        open_runner(bundle_path, engine="tensorrt-rtx")
    assert verify_main([str(bundle_path), "--engine", "tensorrt-rtx"]) == 4
    assert "levit-build" in capfd.readouterr().out


def test_an_engine_that_cannot_run_here_is_a_note_unless_it_was_asked_for(
    bundle_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bundle = open_bundle(bundle_path)
    entry = replace(build(bundle_path, engine="onnxruntime").entry, libraries={"tensorrt_rtx": "0.1"}, files=("plan",))
    add_engine(bundle, "tensorrt-rtx", entry, {"plan": b"of another world"})
    assert verify_main([str(bundle_path)]) == 0
    assert "note: tensorrt-rtx: " in capfd.readouterr().err
    assert verify_main([str(bundle_path), "--engine", "tensorrt-rtx"]) == 4


def test_an_entry_of_an_engine_that_is_not_known_is_a_note(
    bundle_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    entry = replace(build(bundle_path, engine="onnxruntime").entry, files=("beads",))
    add_engine(open_bundle(bundle_path), "abacus", entry, {"beads": b"of a later release"})
    assert verify_main([str(bundle_path)]) == 0
    assert "note: abacus: this levit-deploy does not know this engine" in capfd.readouterr().err


def test_an_engine_that_falls_back_to_the_graph_proves_nothing(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = optimized.build
    monkeypatch.setattr(
        "levit_engines.onnxruntime.build",
        lambda *arguments: replace(original(*arguments), libraries={"onnxruntime": "0.1"}),
    )
    with pytest.raises(ExportError, match=r"was not used but model\.onnx: .*made for onnxruntime 0\.1"):
        build(bundle_path, engine="onnxruntime")
    assert not (bundle_path / "engines").exists()

"""The study of session creation: each way in a process of its own, ratios within a round, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest
from shared_exports import make_exporter

from levit_benchmarks import session_creation as study
from levit_deploy.bundle import open_bundle
from levit_engines import build


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A LeViT-128S of 32 pixels with an optimised graph."""
    exported = make_exporter(tmp_path_factory)(arch="128S", image_size=32, simplify=False, batch=(1, 4)).bundle.path
    bundle: Path = tmp_path_factory.mktemp("sessions") / "built"
    shutil.copytree(exported, bundle)
    build(bundle, engine="onnxruntime")
    return bundle


def test_ratios_are_taken_within_a_round():
    seconds = {"exported": [1.0, 4.0, 2.0], "optimized": [0.1, 0.8, 0.3], "opened": [0.5, 2.0, 2.0]}
    summary = study.summarize(seconds)
    assert summary["median_s"] == {"exported": 2.0, "optimized": 0.3, "opened": 2.0}
    assert summary["ratio"]["optimized"] == pytest.approx(0.15)
    assert summary["ratio"]["opened"] == pytest.approx(0.5)


@pytest.mark.parametrize("way", study.WAYS)
def test_one_way_is_timed_in_this_process(built, capsys, way):
    assert study.main([str(built), "--only", way]) == 0
    assert 0 < float(capsys.readouterr().out) < 60


def test_every_way_is_timed_in_processes_of_its_own(built, tmp_path):
    file = tmp_path / "sessions.json"
    # Whether so small a network is within the limit says nothing.
    assert study.main([str(built), "-o", str(file), "--rounds", "2"]) in (0, 1)
    (network,) = json.loads(file.read_text())["networks"]
    assert network["arch"] == open_bundle(built).manifest.config.arch
    assert {way: len(seconds) for way, seconds in network["seconds"].items()} == dict.fromkeys(study.WAYS, 2)


def test_a_bundle_without_an_optimised_graph_is_refused(make_bundle, tmp_path, capsys):
    bundle = make_bundle().path
    assert study.main([str(bundle), "-o", str(tmp_path / "sessions.json")]) == 2
    assert f"run levit-build {bundle} --engine onnxruntime" in capsys.readouterr().err


def test_a_result_is_not_replaced_unasked(built, tmp_path, capsys):
    file = tmp_path / "sessions.json"
    file.write_text("mine")
    assert study.main([str(built), "-o", str(file)]) == 2
    assert file.read_text() == "mine"
    assert "--overwrite" in capsys.readouterr().err

"""A network that was really trained, through export, fp16, int8, evaluation and classification."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from levit_benchmarks import precision_study, trained_digits
from levit_benchmarks.trained_digits import HELD_OUT, TRAIN, read_digits
from levit_engines.cli import classify, evaluate
from levit_export.pipeline import export
from levit_export.request import Calibration, ExportRequest, Precision, Target


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, labels, and a LeViT-128S that has seen each image eight times."""
    folder = tmp_path_factory.mktemp("trained") / "digits"
    assert trained_digits.main(["--arch", "128S", "--epochs", "8", "-o", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def bundles(digits: Path) -> dict[Precision, Path]:
    """One of each precision that the CPU runs."""
    given: dict[str, Any] = {"checkpoint": digits / "levit-128S.safetensors", "labels": digits / "labels.txt"}
    int8: dict[str, Any] = {"calibration": digits / TRAIN, "min_sqnr_db": 40.0, "max_flips": 0.005}
    made = {}
    for precision in (Precision.FP32, Precision.FP16, Precision.INT8):
        options = given | (int8 if precision is Precision.INT8 else {})
        request = ExportRequest(**options, precision=precision, batch=(1, 16), output=digits / precision.value)
        made[precision] = export(request).path
    return made


def test_the_two_sets_share_no_image(digits: Path) -> None:
    names = [{path.name for path in (digits / part).rglob("*.png")} for part in (TRAIN, HELD_OUT)]
    assert (len(names[0]), len(names[1])) == (1198, 599)
    assert not names[0] & names[1]
    held_out = read_digits(digits / HELD_OUT)
    assert held_out.pixels.shape == (599, 64, 64, 3)
    assert np.bincount(held_out.classes).min() > 40


@pytest.mark.slow
@pytest.mark.parametrize("precision", [Precision.FP16, Precision.INT8])
def test_the_accuracy_is_kept_on_images_that_it_never_saw(
    precision: Precision, digits: Path, bundles: dict[Precision, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(bundles[precision]), "--data", str(digits / HELD_OUT), "--against", str(bundles[Precision.FP32])]
    assert evaluate.main([*arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["reference"]["top1"]["share"] > 0.9, "it has learnt the digits"
    comparison = document["comparison"]
    assert (comparison["lost"] + comparison["gained"]) / 599 <= 0.005
    assert comparison["verdict"] == "kept"


@pytest.mark.slow
def test_the_layers_that_stay_are_few_and_named(bundles: dict[Precision, Path]) -> None:
    record = json.loads((bundles[Precision.INT8] / "manifest.json").read_text())["graph"]["quantization"]
    assert record["sqnr_db"] >= 40
    assert record["flips"] / record["images"] <= 0.005
    assert len(record["kept_layers"]) <= 8
    assert record["calibration"]["images"] == 512


@pytest.mark.slow
def test_a_digit_is_classified(
    digits: Path, bundles: dict[Precision, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    files = [next(iter(sorted((digits / TRAIN / label).iterdir()))) for label in "0123456789"]
    assert classify.main([str(bundles[Precision.INT8]), *map(str, files), "--json"]) == 0
    images = json.loads(capsys.readouterr().out)["images"]
    best = [image["top"][0]["name"] for image in images]
    assert sum(found == label for found, label in zip(best, "0123456789", strict=True)) >= 9


@pytest.mark.slow
def test_the_study_compares_every_precision(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(precision_study, "Calibration", [Calibration.MIN_MAX])
    monkeypatch.setattr(precision_study, "Target", [Target.GPU])
    monkeypatch.setattr(
        precision_study, "BUDGET", {"min_sqnr_db": 20.0}
    )  # met at once: no search, which is shown above
    file = tmp_path / "study.json"
    assert precision_study.main([str(digits), "-o", str(file)]) == 0
    found = json.loads(file.read_text())["costs"]
    costs = {(cost["precision"], cost["target"]): cost["sqnr_db"] for cost in found}
    assert set(costs) == {("fp16", "cpu"), ("int8", "gpu"), ("int8", "cpu")}
    assert costs["fp16", "cpu"] > 55 > costs["int8", "cpu"] > costs["int8", "gpu"] > 28
    assert [cost["budget"] for cost in found] == [False, False, True]
    assert [(cost["kept_layers"], cost["layers"]) for cost in found] == [(None, None), (0, 46), (0, 46)]
    assert "flipped" in capsys.readouterr().err
    assert precision_study.main([str(tmp_path), "-o", str(tmp_path / "other.json")]) == 3

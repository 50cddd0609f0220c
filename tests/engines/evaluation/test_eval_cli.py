"""levit-eval on a bundle whose classes can be worked out by hand: counts, verdicts, broken files, interrupted runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures_bundle import CLASSES, SIDE, WEIGHTS, BundleFactory
from PIL import Image

from levit_deploy.bundle import MODEL, Bundle
from levit_deploy.preprocessing import normalize, preprocessing_for
from levit_engines.cli.evaluate import main
from levit_engines.evaluation import run as evaluation
from levit_engines.evaluation.journal import Journal
from levit_engines.evaluation.outcome import Outcome

COUNT = 40


def logits_of(colour: tuple[int, int, int]) -> Any:
    pixels = np.full((1, SIDE, SIDE, 3), colour, np.uint8)
    return normalize(pixels, preprocessing_for("untrained", SIDE)).mean(axis=(2, 3))[0] @ WEIGHTS


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """40 images of one colour each, in folders of their second best class where the number is a multiple of four."""
    folder = tmp_path / "data"
    for index in range(CLASSES):
        (folder / f"name {index}").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(COUNT):
        colour = tuple(int(value) for value in generator.integers(0, 256, 3))
        order = np.argsort(-logits_of(colour))
        label = order[1] if number % 4 == 0 else order[0]
        Image.new("RGB", (50, 40), colour).save(folder / f"name {label}" / f"{number:02}.png")
    return folder


@pytest.mark.parametrize("kind", [{"batch": 1}, {"batch": 7}, {"batch": "batch", "maximum": 64}, {"dtype": "uint8"}])
def test_accuracy_is_counted_over_every_image(
    kind: dict[str, Any], make_bundle: BundleFactory, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(make_bundle(**kind).path), "--data", str(data), "--json", "--threads", "1"]) == 0
    document = json.loads(capsys.readouterr().out)
    accuracy = document["accuracy"]
    assert accuracy["images"] == COUNT
    assert accuracy["top1"]["count"] == COUNT * 3 // 4
    assert accuracy["top5"]["count"] == COUNT
    assert accuracy["top1"]["interval"][0] < 0.75 < accuracy["top1"]["interval"][1]
    assert document["data"]["classes"] == "names of the bundle's labels"
    assert document["comparison"] is None


@pytest.fixture
def worse(make_bundle: BundleFactory) -> Callable[[], Bundle]:
    """A bundle with the same labels whose network takes another colour for each class."""
    import onnx
    from fixtures_bundle import tiny_model
    from onnx import numpy_helper

    def make() -> Bundle:
        model = onnx.load_model_from_string(tiny_model())
        (tensor,) = (one for one in model.graph.initializer if one.name == "weights")
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(WEIGHTS[:, ::-1]), "weights"))
        return make_bundle("worse", members={MODEL: model.SerializeToString()})

    return make


def test_the_same_bundle_keeps_its_accuracy_and_a_worse_one_loses_it(
    make_bundle: BundleFactory, worse: Callable[[], Bundle], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = make_bundle().path, worse().path
    # With 40 images even equals may differ by 9 points, as far as they tell.
    for budget, code, verdict in (("20%", 0, "kept"), ("1%", 0, "cannot tell")):
        arguments = [str(good), "--data", str(data), "--against", str(good), "--budget", budget, "--json"]
        assert main(arguments) == code
        comparison = json.loads(capsys.readouterr().out)["comparison"]
        assert (comparison["verdict"], comparison["flips"], comparison["drop"]) == (verdict, 0, 0)
    assert main([str(bad), "--data", str(data), "--against", str(good)]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert ": lost; dropped by" in printed
    assert "best classes differ" in printed


def test_published_figures_are_of_imagenet_only(
    make_bundle: BundleFactory, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(make_bundle().path), "--data", str(data), "--against", "published"]) == 2
    assert "give --against BUNDLE" in capsys.readouterr().err


def test_images_that_cannot_be_read_fail_the_run_or_are_left_out_and_named(
    make_bundle: BundleFactory, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "name 0" / "broken.png").write_bytes(b"not an image")
    (data / "name 0" / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    bundle = str(make_bundle().path)
    assert main([bundle, "--data", str(data)]) == 3
    said = capsys.readouterr().err
    assert "2 of 42 images cannot be read" in said
    assert "broken.png" in said
    assert "--skip-broken" in said
    assert main([bundle, "--data", str(data), "--skip-broken", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["accuracy"]["images"] == COUNT
    assert set(document["data"]["broken"]) == {"name 0/broken.png", "name 0/cut.jpg"}


def test_an_interrupted_run_goes_on_where_it_stopped(
    make_bundle: BundleFactory,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bundle, output = str(make_bundle().path), tmp_path / "result.json"
    honest, seen = evaluation.Classifier.outcomes, []

    def outcomes(self: Any, pixels: Any, labels: Any) -> list[Outcome]:
        if len(seen) == 25:
            raise KeyboardInterrupt
        seen.append(labels)
        return honest(self, pixels, labels)

    monkeypatch.setattr(evaluation.Classifier, "outcomes", outcomes)
    assert main([bundle, "--data", str(data), "-o", str(output)]) == 130
    assert not output.exists()
    (journal,) = tmp_path.glob(".result.json.*.journal")
    with journal.open("a", encoding="utf-8") as file:
        file.write('{"name": "cut o')  # the last line may be half written
    capsys.readouterr()
    monkeypatch.setattr(evaluation.Classifier, "outcomes", honest)
    assert main([bundle, "--data", str(data), "-o", str(output), "--json"]) == 0
    printed = capsys.readouterr()
    assert "25 of 40 images are known from an interrupted run" in printed.err
    assert json.loads(printed.out) == json.loads(output.read_text())
    assert json.loads(printed.out)["accuracy"]["top1"]["count"] == COUNT * 3 // 4
    assert not list(tmp_path.glob(".result.json*"))


def test_a_journal_of_another_run_is_not_taken_up(
    make_bundle: BundleFactory, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "result.json"
    with Journal(tmp_path / ".result.json.bundle.journal", {"kind": "another"}) as journal:
        journal.add("name 0/00.png", Outcome(best=0, rank=0))
    assert main([str(make_bundle().path), "--data", str(data), "-o", str(output)]) == 2
    assert "is of another evaluation that was interrupted" in capsys.readouterr().err


def test_a_result_is_not_replaced_unasked(
    make_bundle: BundleFactory, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "result.json"
    output.write_text("mine")
    assert main([str(make_bundle().path), "--data", str(data), "-o", str(output)]) == 2
    assert output.read_text() == "mine"
    assert main([str(tmp_path / "bundle"), "--data", str(data), "-o", str(output), "--overwrite"]) == 0
    assert json.loads(output.read_text())["kind"] == "levit-eval"
    capsys.readouterr()


@pytest.mark.parametrize(("text", "message"), [("101%", "not a share"), ("-1", "not a share"), ("nan", "not a share")])
def test_a_budget_is_a_share(text: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bundle", "--data", "data", f"--budget={text}"])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err

"""levit-classify: the classes it names, the errors it makes, and that it needs no torch and calls no one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures_bundle import WEIGHTS, BundleFactory, tiny_model

from levit_deploy.bundle import LABELS, MODEL, Bundle
from levit_deploy.preprocessing import normalize, preprocess_file
from levit_deploy.threads import available_threads
from levit_engines.cli.classify import main


def expected_top(bundle: Bundle, file: Path) -> list[tuple[int, float]]:
    """Classes and probabilities, best first, computed without the engine."""
    contract = bundle.manifest.preprocessing
    image = normalize(preprocess_file(file, contract), contract).astype(np.float64)
    logits = image.mean(axis=(1, 2)) @ WEIGHTS
    probabilities = np.exp(logits) / np.exp(logits).sum()
    return [(int(index), float(probabilities[index])) for index in np.argsort(-probabilities)]


def printed_json(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The one JSON document on stdout; nothing on stderr."""
    out, err = capsys.readouterr()
    assert err == ""
    document: dict[str, Any] = json.loads(out)
    return document


KINDS = {
    "one by one": {"batch": 1},
    "static batch, last group padded": {"batch": 3},
    "static batch above the count": {"batch": 9},
    "dynamic": {"batch": "batch", "maximum": 4},
    "dynamic, above the count": {"batch": "batch", "maximum": 64},
    "uint8": {"batch": 2, "dtype": "uint8"},
    "uint8 dynamic": {"batch": "batch", "maximum": 4, "dtype": "uint8"},
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_every_kind_of_bundle_gives_the_right_classes(
    kind: dict[str, Any], make_bundle: BundleFactory, images: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = make_bundle(**kind)
    assert main([str(bundle.path), *map(str, images), "--json", "--top-k", "3"]) == 0
    document = printed_json(capsys)
    assert (document["bundle"], document["engine"]) == (str(bundle.path), "onnxruntime")
    assert (document["device"], document["threads"]) == ("cpu", available_threads())
    assert [image["file"] for image in document["images"]] == [str(file) for file in images]
    for file, image in zip(images, document["images"], strict=True):
        expected = expected_top(bundle, file)[:3]
        assert [guess["class"] for guess in image["top"]] == [index for index, _ in expected]
        assert [guess["probability"] for guess in image["top"]] == pytest.approx(
            [probability for _, probability in expected], rel=1e-4
        )
        assert [guess["rank"] for guess in image["top"]] == [1, 2, 3]
        assert [guess["name"] for guess in image["top"]] == [f"name {index}" for index, _ in expected]


def test_the_table_shows_rank_name_index_and_probability(
    make_bundle: BundleFactory, images: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = make_bundle(batch=2)
    assert main([str(bundle.path), *map(str, images[:3]), "--threads", "2"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "\x1b" not in out
    lines = out.splitlines()
    assert lines[-1] == "engine onnxruntime, device cpu, threads 2"
    assert sum("class name" in line for line in lines) == 3
    index, probability = expected_top(bundle, images[0])[0]
    best = next(line for line in lines if f"name {index}" in line)
    assert f"{100 * probability:.2f} %" in best
    assert sum("name" in line and "%" in line for line in lines) == 3 * 5


def test_more_classes_than_there_are_gives_all(
    make_bundle: BundleFactory, images: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(make_bundle().path), str(images[0]), "--top-k", "1000", "--json"]) == 0
    top = printed_json(capsys)["images"][0]["top"]
    assert len(top) == 5
    assert sum(guess["probability"] for guess in top) == pytest.approx(1.0, abs=1e-12)


def test_equal_classes_come_in_the_order_of_their_index(
    make_bundle: BundleFactory, images: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    equal = tiny_model().replace(WEIGHTS.tobytes(), np.ones_like(WEIGHTS).tobytes())
    assert main([str(make_bundle(members={MODEL: equal}).path), str(images[0]), "--json"]) == 0
    assert [guess["class"] for guess in printed_json(capsys)["images"][0]["top"]] == [0, 1, 2, 3, 4]


def test_names_with_markup_and_terminal_codes_are_harmless(
    make_bundle: BundleFactory, images: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    labels = b"[red]a[/]\n[/]\n\x1b[2Jc\nd\ne\n"
    odd = images[0].with_name("[bold]\x1b[2J.png")
    odd.write_bytes(images[0].read_bytes())
    assert main([str(make_bundle(members={LABELS: labels}).path), str(odd)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "[red]a[/]" in out
    assert "[bold]" in out


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["table", "json"])
def test_untrained_weights_are_said_plainly(
    form: list[str], make_bundle: BundleFactory, images: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = make_bundle(weights={"origin": "untrained", "seed": 0})
    assert main([str(bundle.path), *map(str, images[:2]), *form]) == 0
    out, err = capsys.readouterr()
    assert out
    assert err.count("\n") == 1
    assert "untrained weights, the probabilities mean nothing" in err


def _broken(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:60])


def _text(file: Path) -> None:
    file.write_text("not an image")


@pytest.mark.parametrize("damage", [_broken, _text, Path.unlink])
def test_a_bad_image_is_one_line_that_names_it(
    damage: Any, make_bundle: BundleFactory, images: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    damage(images[1])
    assert main([str(make_bundle().path), *map(str, images[:3]), "--json"]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"levit-classify: error: {images[1]}: ")
    assert err.count("\n") == 1


def test_logits_that_are_not_finite_are_an_error(
    make_bundle: BundleFactory, images: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tiny_model().replace(WEIGHTS.tobytes(), np.full_like(WEIGHTS, np.nan).tobytes())
    assert main([str(make_bundle(members={MODEL: bad}).path), str(images[0])]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "not finite" in err


def test_a_tampered_bundle_is_refused(
    make_bundle: BundleFactory, images: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_bundle().path
    (path / LABELS).write_text("a\nb\nc\nd\nf\n")
    assert main([str(path), str(images[0])]) == 3
    assert "labels.txt: altered" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [[], ["bundle"], ["bundle", "a.png", "--top-k", "0"], ["bundle", "a.png", "--engine", "steam"],
     ["bundle", "a.png", "--threads", "none"], ["bundle", "a.png", "--js"]],
    ids=lambda value: " ".join(value) or "nothing",
)  # fmt: skip
def test_misuse_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().out == ""

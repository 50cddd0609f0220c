"""The study of the derived bounds: what it measures, what it writes, and that it can fail both ways."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from levit_benchmarks import bound_study, progress, study_inputs
from levit_benchmarks.bound_study import SMALLEST_SHARE, Shares, find_misses, summarize
from levit_benchmarks.study_inputs import RANDOM_KINDS, REAL, find_photographs, kind_of, make_input
from levit_deploy.preprocessing import preprocessing_for

INPUTS, SIDE = 16, 32
RUNGS = ["eager float32", "fused float32", "ONNX Runtime"]
OURS = ["astronaut", "chelsea", "coffee", "rocket"]


def run(path: Path, *more: str, inputs: int = INPUTS) -> int:
    sizes = ["--inputs", str(inputs), "--image-size", str(SIDE), "--batch-size", "5"]
    return bound_study.main(["--arch", "128S", *sizes, "--json", str(path), *more])


@pytest.fixture(scope="module", autouse=True)
def networks() -> Iterator[None]:
    """The network is traced once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bound_study, "build_network", cache(bound_study.build_network))
        yield


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study") / "bound-study.json"
    assert run(path) == 0
    return path


def test_a_run_holds_every_rung_to_its_bound_and_says_so(result):
    document = json.loads(result.read_text(), parse_constant=pytest.fail)  # NaN and Infinity are no JSON
    assert list(document) == ["schema_version", "variants"]
    variant = document["variants"]["128S"]
    assert " ".join(variant) == "date machine packages settings inputs wall_s rungs misses verdict"
    assert variant["settings"]["batch_size"] == 5
    assert variant["verdict"] == "pass"
    assert variant["inputs"]["kinds"] == {
        REAL: 8,
        "0/255 noise": 1,
        "byte noise": 2,
        "constant colours": 1,
        "single points": 1,
        "soft shapes": 2,
        "stripes and checkerboards": 1,
    }
    assert list(variant["rungs"]) == RUNGS
    for figures in variant["rungs"].values():
        assert figures["inputs"] == INPUTS
        assert figures["exceeded"] == 0
        assert SMALLEST_SHARE < figures["smallest"] <= figures["percentile_1"] <= figures["median"]
        assert figures["median"] <= figures["largest"] == max(figures["largest_by_kind"].values()) <= 1
        assert set(figures["largest_by_kind"]) == set(variant["inputs"]["kinds"])
    assert len({figures["largest"] for figures in variant["rungs"].values()}) == 3  # three rungs, not one thrice
    assert [path.name for path in result.parent.iterdir()] == [result.name]
    assert str(result.parent) not in result.read_text()


def test_batches_follow_from_the_settings_alone(tmp_path, monkeypatch):
    batches: list[tuple[bytes, int]] = []

    def measure(network: object, images: np.ndarray, contract: object, seed: int) -> dict[str, np.ndarray]:
        batches.append((images.tobytes(), seed))
        return {"rung": np.full(len(images), 0.1)}

    monkeypatch.setattr(bound_study, "measure", measure)
    monkeypatch.setattr(bound_study, "build_network", lambda settings, number: networks_asked.append(number))
    networks_asked: list[int] = []
    for name in ("first", "again"):
        assert run(tmp_path / name, "--inputs-per-network", "12") == 0
    assert networks_asked == [0, 1, 0, 1]
    assert batches[:4] == batches[4:]
    assert [seed for _, seed in batches[:4]] == [0, 5, 10, 12]  # batches of 5, 5, 2 and, of another network, 4
    assert len({images for images, _ in batches[:4]}) == 4
    assert run(tmp_path / "other", "--inputs-per-network", "12", "--seed", "1") == 0
    assert not {images for images, _ in batches[8:]} & {images for images, _ in batches[:4]}


@pytest.mark.parametrize(("factor", "word"), [(1e4, "says nothing"), (1e-4, "inputs exceed")], ids=["loose", "tight"])
def test_a_bound_that_is_wrong_is_a_miss(factor, word, tmp_path, monkeypatch, capsys):
    honest = bound_study.logit_bounds
    monkeypatch.setattr(bound_study, "logit_bounds", lambda *a, **k: factor * honest(*a, **k))
    path = tmp_path / "bound-study.json"
    for _ in range(2):  # measured, and then only read from the result
        assert run(path) == 1
        messages = [line for line in capsys.readouterr().err.splitlines() if "miss: 128S" in line]
        assert len(messages) == len(RUNGS)
        assert all(word in message for message in messages)
    variant = json.loads(path.read_text())["variants"]["128S"]
    assert variant["verdict"] == "miss"
    assert len(variant["misses"]) == len(RUNGS)


def test_a_rung_that_gives_nan_is_a_miss_and_valid_json(tmp_path, monkeypatch):
    honest = bound_study.measure

    def measure(*arguments, **options):
        shares = honest(*arguments, **options)
        shares["fused float32"][:1] = math.nan
        return shares

    monkeypatch.setattr(bound_study, "measure", measure)
    assert run(tmp_path / "nan.json") == 1
    text = (tmp_path / "nan.json").read_text()
    variant = json.loads(text, parse_constant=pytest.fail)["variants"]["128S"]
    assert variant["rungs"]["fused float32"]["largest"] == "nan"
    assert [miss.partition(":")[0] for miss in variant["misses"]] == ["fused float32"]


def refuse(*arguments: object) -> None:
    raise AssertionError("this must not be measured")


def test_what_the_result_has_is_not_measured_again(result, tmp_path, monkeypatch, capsys):
    path = tmp_path / "bound-study.json"
    path.write_bytes(result.read_bytes())
    monkeypatch.setattr(bound_study, "run_variant", refuse)
    assert run(path) == 0
    assert "128S is in" in capsys.readouterr().err
    assert path.read_bytes() == result.read_bytes()
    assert run(path, inputs=INPUTS + 1) == 2
    assert "other settings" in capsys.readouterr().err
    with pytest.raises(AssertionError, match="must not be measured"):
        run(path, "--overwrite")
    assert path.read_bytes() == result.read_bytes()


def fake(arch: str) -> Callable[..., Shares]:
    """A measurement that takes no time, and stops at `arch`."""

    def run_variant(settings: bound_study.Settings, *_: object) -> Shares:
        if settings.arch == arch:
            raise KeyboardInterrupt
        return Shares(kinds=("a", "b"), by_rung={"rung": (0.1, 0.2)})

    return run_variant


def test_a_study_that_is_stopped_keeps_what_is_done(tmp_path, monkeypatch):
    path = tmp_path / "bound-study.json"
    arguments = ["--arch", "128S", "LeViT-128", "384", "128S", "--json", str(path)]
    monkeypatch.setattr(bound_study, "run_variant", fake("384"))
    assert bound_study.main(arguments) == 130
    assert list(json.loads(path.read_text())["variants"]) == ["128S", "128"]
    monkeypatch.setattr(bound_study, "run_variant", fake("128S"))
    assert bound_study.main(arguments) == 0
    assert list(json.loads(path.read_text())["variants"]) == ["128S", "128", "384"]


@pytest.mark.parametrize(
    "arguments",
    [["--arch", "512"], ["--image-size", "100"], ["--json", "nowhere/result.json"], ["--json", "."]],
    ids=lambda arguments: " ".join(arguments),
)
def test_errors_of_use_are_one_line(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bound_study, "run_variant", refuse)
    assert bound_study.main(["--json", "result.json", *arguments]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text", ["", "[]", '{"variants": {}}', '{"schema_version": 9, "variants": {}}', '{"variants": {"384": 1}}']
)
def test_a_file_that_is_no_result_stays(text, tmp_path, monkeypatch):
    path = tmp_path / "bound-study.json"
    path.write_text(text)
    monkeypatch.setattr(bound_study, "run_variant", refuse)
    assert run(path) == 2
    assert path.read_text() == text


def test_figures_of_known_shares():
    shares = Shares(kinds=("a", "b", "a", "b", "b"), by_rung={"rung": (0.5, 0.005, 1.0, 0.25, 1.5)})
    (figures,) = summarize(shares).values()
    assert figures == {
        "inputs": 5,
        "exceeded": 1,
        "below_a_hundredth": 1,
        "largest": 1.5,
        "median": 0.5,
        "percentile_1": pytest.approx(0.005 + 0.04 * 0.245),
        "smallest": 0.005,
        "largest_input": 4,
        "largest_by_kind": {"a": 1.0, "b": 1.5},
    }


@pytest.mark.parametrize(
    ("values", "passes"),
    [
        ((0.01, 0.01, 1.0), True),
        ((0.009, 0.009, 1.0), False),  # typical errors far below: one input says little
        ((0.009, 0.009, 0.009), False),
        ((0.5, 0.5, 1.0001), False),
        ((0.5, 0.5, math.nan), False),
        ((0.5, 0.5, math.inf), False),
    ],
)
def test_verdicts(values, passes):
    misses = find_misses(summarize(Shares(kinds=("a",) * 3, by_rung={"rung": values})))
    assert (misses == []) is passes


@pytest.mark.parametrize("kind", [REAL, *RANDOM_KINDS])
def test_inputs_are_random_pixels_that_a_seed_repeats(kind):
    contract, photographs = preprocessing_for("untrained", SIDE), find_photographs()

    def draw(seed: int) -> list[np.ndarray]:
        generator = np.random.default_rng(seed)
        return [make_input(kind, photographs, contract, generator) for _ in range(20)]

    images = draw(0)
    assert {(image.shape, image.dtype.name) for image in images} == {((SIDE, SIDE, 3), "uint8")}
    assert len({image.tobytes() for image in images}) >= 19
    np.testing.assert_array_equal(draw(0), images)
    assert not np.array_equal(draw(1), images)


def test_half_of_the_inputs_are_real_and_the_others_take_turns():
    kinds = [kind_of(number) for number in range(120)]
    assert kinds.count(REAL) == 60
    assert all(kinds.count(kind) == 10 for kind in RANDOM_KINDS)
    assert set(kinds) == {REAL, *RANDOM_KINDS}


def test_our_photographs_do_when_no_others_are_installed(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        study_inputs.importlib.util, "find_spec", lambda name: found(name) if name == "levit_deploy" else None
    )
    names = [photograph.name for photograph in find_photographs()]
    assert names == [f"levit_deploy/{name}.jpg" for name in OURS]


def test_progress_says_how_long_it_will_take(monkeypatch, capsys):
    seconds = iter([0.0, 30.0, 150.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(seconds))
    with progress.ProgressDisplay(total=400) as display:
        display.advance(50, "128S: 1 of 8 inputs")
        display.advance(50, "128S: 2 of 8 inputs")
    # 150 s for a quarter leave 450 s for the rest; nothing was due after 30 s.
    assert capsys.readouterr().err == "128S: 2 of 8 inputs; 25% done, about 8 min left\n"

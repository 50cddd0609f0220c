"""The study of blame: defects are named right, and a ladder that names wrong ones fails the study."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from levit_benchmarks import blame_study
from levit_benchmarks.blame_study import (
    EAGER,
    HARMLESS,
    HOPS,
    NO_PLACE,
    REFUSED,
    Control,
    Outcome,
    Settings,
    Subject,
    VariantStudy,
    document_of,
    find_misses,
    module_distance,
    study_variant,
)
from levit_benchmarks.defects import EAGER_DEFECTS, FOLDING_DEFECTS, FUSED_DEFECTS
from levit_benchmarks.graph_defects import GRAPH_DEFECTS
from levit_deploy.architectures import VARIANTS, config_for
from levit_deploy.blame import Blame, ProbeError
from levit_deploy.ladder import Truth
from levit_deploy.probes import Probe, probes_of
from levit_export.simplification import Simplification

SIDE = 64
# Two variants, each in one of the forms, as tracing takes most of the time; the committed study has all five.
FORM_OF = {"128S": "grid", "128": "tokens"}
DEFECTS = 30  # of each variant


def settings_for(arch: str, *, defects: int = DEFECTS) -> Settings:
    return Settings(archs=(arch,), image_size=SIDE, defects=defects, seed=0, forms=(FORM_OF[arch],))


@pytest.fixture(scope="module", autouse=True)
def _traced_once() -> Iterator[None]:
    """A network is traced once for all tests, and onnxsim, which finds nothing to remove, is not asked."""
    honest = blame_study.trace_network
    done: dict[str, onnx.ModelProto] = {}

    def trace_network(fused, request, *others):
        if request.arch not in done:
            done[request.arch] = honest(fused, request, *others)
        return done[request.arch]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blame_study, "trace_network", trace_network)
        patch.setattr(blame_study, "simplify", lambda traced, static: Simplification(traced, kept=False, reason=""))
        yield


@pytest.fixture(scope="module")
def subjects() -> tuple[Truth, dict[str, Subject]]:
    """The stages of the smallest network by hop."""
    truth, stages = blame_study.build_subjects(settings_for("128S"), "128S")
    return truth, {subject.hop: subject for subject in stages}


@pytest.mark.slow
def test_defects_in_all_hops_are_named(record_property):
    study = VariantStudy()
    for arch in FORM_OF:
        study += study_variant(settings_for(arch), arch, lambda count: None)
    settings = replace(settings_for("128S"), archs=tuple(FORM_OF), forms=tuple(FORM_OF.values()))
    document = document_of(study, settings, wall_s=1.0)
    summary = document["summary"]
    record_property("exact", summary["exact"])
    wrong = [row for row in document["defects"] if not row["exact"]]
    assert summary["defects"] == DEFECTS * len(FORM_OF)
    assert summary["exact"] >= 0.95, wrong
    assert summary["within_one"] == 1.0, wrong
    assert set(summary["by_hop"]) == set(HOPS)
    assert set(summary["by_variant"]) == set(FORM_OF)
    assert summary["kinds"] >= 20
    for hop in HOPS:
        assert len({row["kind"] for row in document["defects"] if row["hop"] == hop}) >= 5
    assert len(document["controls"]) == len(HOPS) * len(FORM_OF)
    assert all(study.controls)
    assert [control["named"] for control in document["controls"]] == [None] * len(document["controls"])
    assert document["misses"] == []
    assert document["verdict"] == "pass"
    for row in document["defects"]:
        # The error is within its bound before the named module and beyond it after, or there is nothing before it.
        assert not float(row["after"]["error"]) <= row["after"]["bound"]
        assert row["before"] is None or row["before"]["error"] <= row["before"]["bound"]
        assert not float(row["logit_share"]) <= 1.0
    json.dumps(document, allow_nan=False)


@pytest.mark.parametrize("arch", VARIANTS)
def test_distance_between_modules(arch):
    config = config_for(arch)

    def distance(expected: str, named: str | None) -> int | None:
        assert module_distance(config, expected, named) == module_distance(config, named or "", expected)
        return module_distance(config, expected, named)

    block = "stages.1.blocks.1"
    assert distance("head", "head") == 0
    assert distance("levit", "head") == 1
    assert distance("stem.conv1", "preprocessing") == 1
    assert distance(f"{block}.attention.bias", f"{block}.attention") == 1  # just before it, and just after
    assert distance(f"{block}.attention.qkv", f"{block}.attention") == 1
    assert distance(f"{block}.attention.qkv", f"{block}.attention.bias") == 2
    assert distance(block, f"{block}.attention.projection") == 1
    assert distance(block, f"{block}.mlp.activation") == 2
    assert distance(block, "stages.1.blocks.2.attention.qkv") == 1
    assert distance("head", None) is None
    assert distance("head", "stages.9") is None


def outcome(named: str | None, *, expected: str = "stages.0.blocks.0.mlp.expand", **changes: object) -> Outcome:
    probe = ProbeError(probe=Probe(named or ""), image=0, error=np.nan, bound=1.0, magnitude=1.0)
    fields = {"arch": "128S", "hop": "fused", "form": "", "kind": "weight sign", "seed": (0, 0, 0, 1)}
    return Outcome(
        **{**fields, **changes},
        expected=expected,
        logit_share=np.inf,
        blame=Blame(stage="fused", batch_size=1, before=None, after=None if named is None else probe),
        distance=module_distance(config_for("128S"), expected, named),
    )


RIGHT, NEAR, FAR, NOTHING = (
    outcome("stages.0.blocks.0.mlp.expand"),
    outcome("stages.0.blocks.0.mlp.activation"),
    outcome("stages.0.blocks.0.mlp.contract"),
    outcome(None),
)
HONEST = Control(arch="128S", hop="fused", form="", logit_share=0.5, probe_share=0.9, probes=3, named=None)


@pytest.mark.parametrize(
    ("outcomes", "exact", "within_one", "words"),
    [
        ([RIGHT] * 20, 1.0, 1.0, []),
        ([RIGHT] * 19 + [NEAR], 0.95, 1.0, []),
        ([RIGHT] * 18 + [NEAR] * 2, 0.9, 1.0, ["exact: 0.9 "]),
        ([RIGHT] * 19 + [FAR], 0.95, 0.95, ["within one: 0.95 "]),
        ([RIGHT] * 19 + [NOTHING], 0.95, 0.95, ["within one: 0.95 "]),
        ([RIGHT] * 19, 1.0, 1.0, ["only 19 of 20"]),
        ([], None, None, ["only 0 of 20", "exact: None", "within one: None"]),
    ],
)
def test_aims_and_how_they_are_missed(outcomes, exact, within_one, words):
    settings = settings_for("128S", defects=20)
    document = document_of(VariantStudy(outcomes=tuple(outcomes), controls=(HONEST,)), settings, wall_s=2.0)
    assert document["summary"]["exact"] == exact
    assert document["summary"]["within_one"] == within_one
    assert len(document["misses"]) == len(words)
    assert all(word in miss for word, miss in zip(words, document["misses"], strict=True))
    assert document["verdict"] == ("miss" if words else "pass")
    json.dumps(document, allow_nan=False)


@pytest.mark.parametrize(
    "changes", [{"logit_share": 1.01}, {"probe_share": np.nan}, {"probe_share": 1.5}, {"named": "head"}]
)
def test_an_honest_stage_that_is_blamed_is_a_miss(changes):
    study = VariantStudy(outcomes=(RIGHT,), controls=(HONEST, replace(HONEST, **changes)))
    (miss,) = find_misses(study, settings_for("128S", defects=1))
    assert "without a defect" in miss


def test_what_is_passed_over_is_counted_and_not_shown_as_named():
    one = VariantStudy(outcomes=(RIGHT,), passed_over=Counter({("fused", "weight sign", HARMLESS): 2}))
    two = VariantStudy(passed_over=Counter({("fused", "weight sign", HARMLESS): 1, ("traced", "bias", REFUSED): 1}))
    document = document_of(one + two, settings_for("128S", defects=1), wall_s=1.0)
    assert document["summary"]["passed_over"] == {HARMLESS: 3, REFUSED: 1}
    assert document["summary"]["defects"] == 1
    assert {"hop": "fused", "kind": "weight sign", "reason": HARMLESS, "draws": 3} in document["passed_over"]


def test_a_defect_without_effect_or_without_a_place_or_that_does_not_run_is_none(subjects, monkeypatch):
    truth, by_hop = subjects
    defects = {"none": lambda model, generator: "head", "nowhere": lambda model, generator: None}
    monkeypatch.setattr(blame_study, "EAGER_DEFECTS", defects)

    def cut_constant(graph, generator):
        graph.initializer[-1].dims[0] += 1
        return "head"

    monkeypatch.setattr(blame_study, "GRAPH_DEFECTS", {"cut": cut_constant})
    assert blame_study.judge("128S", by_hop[EAGER], truth, "none", (0,)) == HARMLESS
    assert blame_study.judge("128S", by_hop[EAGER], truth, "nowhere", (0,)) == NO_PLACE
    assert blame_study.judge("128S", by_hop["traced"], truth, "cut", (0,)) == REFUSED
    subject = replace(by_hop[EAGER], kinds=("none", "nowhere"))
    study = blame_study.inject("128S", subject, truth, 3, (0, 0, 0))
    assert study.outcomes == ()
    assert study.passed_over == {(EAGER, "none", HARMLESS): blame_study.MOST_DRAWS, (EAGER, "nowhere", NO_PLACE): 1}


def test_a_blame_that_points_elsewhere_is_not_exact(subjects, monkeypatch):
    """The study itself can fail: a ladder with a blind spot is found out."""
    truth, by_hop = subjects
    subject = by_hop["fused"]
    honest = blame_study.judge("128S", subject, truth, "row sign", (0, 0, 0, 0))
    assert isinstance(honest, Outcome)
    assert honest.exact
    blind = type(subject.honest).probe

    def probe(candidate, images):
        values = blind(candidate, images)
        return {name: value for name, value in values.items() if name.startswith(("stem.conv1", "head"))}

    monkeypatch.setattr(type(subject.honest), "probe", probe)
    missed = blame_study.judge("128S", subject, truth, "row sign", (0, 0, 0, 0))
    assert isinstance(missed, Outcome)
    assert (missed.expected, missed.exact, missed.within_one) == (honest.expected, False, False)


def test_the_same_seed_gives_the_same_defects(subjects):
    truth, by_hop = subjects
    first, again = (blame_study.inject("128S", by_hop["fused"], truth, 3, (7, 0, 1)) for _ in range(2))
    assert [one.to_json() for one in first.outcomes] == [one.to_json() for one in again.outcomes]
    other = blame_study.inject("128S", by_hop["fused"], truth, 3, (8, 0, 1))
    assert [one.to_json() for one in first.outcomes] != [one.to_json() for one in other.outcomes]


def test_defects_are_shared_out_over_hops_and_forms():
    hops = [*HOPS[:2], *HOPS[2:], *HOPS[2:]]
    assert blame_study._counts(hops, 40) == [8, 8, 4, 4, 4, 4, 4, 4]
    assert sum(blame_study._counts(hops, 43)) == 43
    assert blame_study._counts(list(HOPS), 20) == [4] * 5


def test_every_hop_has_at_least_eight_kinds():
    assert len(EAGER_DEFECTS) >= 8
    assert len({*FUSED_DEFECTS, *FOLDING_DEFECTS}) == len(FUSED_DEFECTS) + len(FOLDING_DEFECTS) >= 8
    assert len(GRAPH_DEFECTS) >= 8


@pytest.mark.parametrize("hop", HOPS[:3])  # the last two have the kinds of the third
def test_every_kind_leaves_its_original_alone_and_breaks_a_probed_module(hop, subjects):
    truth, by_hop = subjects
    subject = by_hop[hop]
    modules = {probe.module for probe in probes_of(config_for("128S"))}
    inputs = truth.inputs(pixels=subject.honest.takes_pixels)[:1]
    before = subject.honest.infer(inputs)
    without_place = []
    for kind in subject.kinds:
        with torch.no_grad():
            built = subject.build(kind, np.random.default_rng(0))
        if built is None:
            without_place.append(kind)
            continue
        candidate, path = built
        assert path in modules, kind
        assert candidate.infer(inputs).shape == before.shape, kind
    assert without_place == (["transposed grid"] if hop == HOPS[2] else [])  # on a grid there are no numbers
    assert np.array_equal(subject.honest.infer(inputs), before)


def run(path: Path, *more: str) -> int:
    sizes = ["--defects", "5", "--image-size", str(SIDE), "--form", FORM_OF["128S"]]
    return blame_study.main(["--arch", "levit-128s", *sizes, "--json", str(path), *more])


@pytest.fixture
def _built_once(subjects, monkeypatch):
    truth, by_hop = subjects
    monkeypatch.setattr(blame_study, "build_subjects", lambda *_: (truth, tuple(by_hop.values())))


@pytest.mark.usefixtures("_built_once")
def test_a_run_writes_settings_environment_and_every_defect(tmp_path, capsys):
    path = tmp_path / "blame-study.json"
    assert run(path) == 0
    text = path.read_text()
    document = json.loads(text, parse_constant=pytest.fail)  # NaN and Infinity are no JSON
    assert " ".join(document) == (
        "schema_version date machine packages settings aims wall_s summary misses verdict controls passed_over defects"
    )
    assert document["settings"]["archs"] == ["128S"]
    assert len(document["defects"]) == document["summary"]["defects"] == 5
    assert len(document["controls"]) == len(HOPS)
    assert str(tmp_path) not in text
    output = capsys.readouterr().out
    assert all(word in output for word in ("exact", "within one", "128S", "traced, grid", "controls: 5"))


@pytest.mark.usefixtures("_built_once")
def test_a_run_whose_aim_is_missed_says_which_defects_and_exits_1(tmp_path, monkeypatch, capsys):
    honest = blame_study.blame
    monkeypatch.setattr(blame_study, "blame", lambda *given: replace(honest(*given), after=None))
    assert run(tmp_path / "blame-study.json") == 1
    output, errors = capsys.readouterr()
    assert output.count("not exact: 128S") == 5
    assert "miss: exact: 0.0 of the defects, aim 0.95" in errors


def test_a_result_that_cannot_be_written_is_a_usage_error(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(blame_study, "study_variant", cache(lambda *_: pytest.fail("measured")))
    assert run(tmp_path / "nowhere" / "blame-study.json") == 2
    assert "not a file in an existing folder" in capsys.readouterr().err

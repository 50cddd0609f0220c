"""Every engine of the catalogue on a real LeViT, with a dynamic and with a static batch: what every Runner holds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import runner_checks as checks

from levit_deploy.bundle import Bundle, open_bundle
from levit_deploy.errors import EnvironmentIncompleteError
from levit_deploy.golden import PHOTOGRAPHS
from levit_engines import build, default_engine, open_runner
from levit_engines.bundle_runner import BundleRunner
from levit_engines.catalogue import CATALOGUE
from levit_engines.cli import classify
from levit_export.pipeline import ExportReport
from levit_export.request import Target

Exporter = Callable[..., ExportReport]

# Small, so that thousands of runs are quick; a graph of each form, and both kinds of input.
SMALL: dict[str, Any] = {"arch": "128S", "image_size": 32, "simplify": False}
EXPORTS: dict[str, dict[str, Any]] = {
    "dynamic": {**SMALL, "batch": (1, 4)},
    "static uint8": {**SMALL, "batch": (2, 2), "target": Target.GPU, "uint8_input": True},
}
KINDS = ("dynamic", "static uint8")
# Its compiler takes a minute of CPU for each program: one program is looked at here.
SLOW = {"torch-compile"}
# Only these may be missing: the others need no more than what pip installs.
NEED_MORE = {"torch-compile", "native"} | {name for name, engine in CATALOGUE.items() if engine.device != "cpu"}
CASES = [
    pytest.param((name, kind), id=f"{name} {kind}", marks=[pytest.mark.slow] if name in SLOW else [])
    for name in CATALOGUE
    for kind in KINDS
    if name not in SLOW or kind != "dynamic"
]


@dataclass(frozen=True)
class Case:
    """An engine on a bundle; `runner` is shared by the tests that leave it open."""

    engine: str
    bundle: Bundle
    runner: BundleRunner

    def another(self, threads: int = 1) -> BundleRunner:
        return open_runner(self.bundle, engine=self.engine, threads=threads)


@pytest.fixture(scope="module")
def missing() -> dict[str, str]:
    """What engines lack here, found when the first of their cases was tried."""
    return {}


@pytest.fixture(scope="module")
def case(
    request: pytest.FixtureRequest,
    exported: Exporter,
    missing: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Case]:
    engine, kind = request.param
    if engine in missing:
        pytest.skip(missing[engine])
    bundle = exported(**EXPORTS[kind]).bundle
    try:
        if CATALOGUE[engine].needs_building:
            copy = tmp_path_factory.mktemp("built") / "bundle"
            shutil.copytree(bundle.path, copy)
            bundle = build(copy, engine=engine).bundle
        runner = open_runner(bundle, engine=engine, threads=1)
    except EnvironmentIncompleteError as error:
        if engine not in NEED_MORE:
            raise
        missing[engine] = f"{CATALOGUE[engine].title}: {error}"
        pytest.skip(missing[engine])
    with runner:
        yield Case(engine, bundle, runner)


all_cases = pytest.mark.parametrize("case", CASES, indirect=True, scope="module")


@all_cases
class TestContract:
    def test_it_says_what_it_is(self, case: Case) -> None:
        checks.check_statement(case.runner, case.bundle, case.engine)

    def test_every_batch_size_gives_logits(self, case: Case) -> None:
        checks.check_shapes(case.runner)

    def test_golden_logits_are_reproduced(self, case: Case) -> None:
        checks.check_golden(case.runner, case.bundle)

    def test_other_images_are_refused(self, case: Case) -> None:
        checks.check_refusals(case.runner)

    def test_images_may_lie_in_memory_as_they_like(self, case: Case) -> None:
        checks.check_layouts(case.runner)

    def test_results_belong_to_the_caller(self, case: Case) -> None:
        checks.check_results_belong_to_the_caller(case.runner)

    def test_images_are_neither_kept_nor_changed(self, case: Case) -> None:
        checks.check_images_are_let_go(case.runner)

    def test_the_same_images_give_the_same_logits(self, case: Case) -> None:
        checks.check_repeats(case.runner)

    def test_eight_threads_get_what_one_gets(self, case: Case) -> None:
        checks.check_threads(case.runner)

    @pytest.mark.slow
    def test_thousands_of_runs_take_no_memory(self, case: Case) -> None:
        if case.runner.batch_sizes.minimum > 1 and case.engine not in SLOW:
            pytest.skip("looked for with the dynamic batch, whose smallest is faster")
        checks.check_memory(case.runner)

    def test_it_cannot_be_pickled_and_says_what_to_do(self, case: Case) -> None:
        checks.check_pickling(case.runner)

    def test_closing_while_others_infer(self, case: Case) -> None:
        checks.check_closing(case.another())

    def test_leaving_a_with_closes(self, case: Case) -> None:
        if case.engine in SLOW:
            pytest.skip("opening takes ten seconds; leaving a `with` is closing, for every engine alike")
        checks.check_context(case.another)

    def test_two_threads_of_the_engine_repeat_themselves(self, case: Case) -> None:
        if case.engine in SLOW:
            pytest.skip("another number of threads is another program, a minute to compile")
        with case.another(threads=2) as runner:
            checks.check_repeats(runner)
            checks.check_threads(runner, rounds=3)


def test_every_engine_of_the_catalogue_is_here() -> None:
    assert {case.values[0][0] for case in CASES} == set(CATALOGUE)


def test_every_engine_finds_the_same_classes_on_photographs(
    exported: Exporter, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = exported(**EXPORTS["dynamic"]).bundle
    photographs = sorted(
        str(path) for path in Path(str(resources.files("levit_deploy"))).glob("data/photographs/*.jpg")
    )
    assert len(photographs) == len(PHOTOGRAPHS)
    found = {}
    for engine in ("onnxruntime", "openvino", "torch-eager"):
        assert classify.main([str(bundle.path), *photographs, "--engine", engine, "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert document["engine"] == engine
        found[engine] = [[guess["class"] for guess in image["top"]] for image in document["images"]]
    assert [len(best) for best in found["onnxruntime"]] == [5] * len(photographs)
    assert found["openvino"] == found["onnxruntime"] == found["torch-eager"]
    assert len({tuple(best) for best in found["onnxruntime"]}) > 1  # the network looks at the image


def test_a_bundle_can_be_named_by_its_path(exported: Exporter) -> None:
    bundle = exported(**EXPORTS["dynamic"]).bundle
    with open_runner(Path(bundle.path)) as runner:
        checks.check_statement(runner, open_bundle(bundle.path), default_engine(bundle))

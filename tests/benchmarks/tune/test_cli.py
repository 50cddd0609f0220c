"""levit-tune on bundles that take microseconds: what it answers, what it writes, and what it refuses."""

import json

import fixtures_bundle
import pytest
from proven_bundles import proven

from levit_benchmarks.bench.document import from_json
from levit_benchmarks.tune import cli, engines, plan
from levit_benchmarks.tune.engines import working_engines
from levit_benchmarks.tune.sources import exported, variants_for
from levit_deploy.errors import ConfigError, EnvironmentIncompleteError

QUICK = ("--engine", "onnxruntime", "--threads", "1", "--budget", "0.01")


@pytest.fixture
def paths(make_bundle, monkeypatch):
    """Two bundles that say they are variants as they were published."""
    monkeypatch.setattr(fixtures_bundle, "SIDE", 224)
    return [str(proven(make_bundle, f"levit-{arch}", arch=arch, classes=1000).path) for arch in ("128S", "192")]


def test_an_answer_is_printed_kept_and_drawn(paths, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(plan, "MOST_ROUNDS", plan.FEWEST_ROUNDS)
    output, report = tmp_path / "tune.json", tmp_path / "report"
    arguments = ("--max-latency-ms", "1000", "-o", str(output), "--report", str(report), "--json")
    assert cli.main([*paths, *QUICK, "--budget", "10", *arguments]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found == json.loads(output.read_text())
    assert found["goal"]["text"] == "90th percentile of the latency within 1000 ms"
    assert found["answer"]["precision"] == "fp32"
    assert found["answer"]["commands"][-1].endswith("--engine onnxruntime --threads 1 --batch 1")
    assert {one["network"] for one in found["screened"]} == {"LeViT-128S", "LeViT-192"}
    assert from_json(found["run"], "here").settings["budget_minutes"] == 10
    assert (report / "index.html").is_file()
    assert any(path.name.startswith("frontier-") for path in report.iterdir())
    assert "Take LeViT-" in printed.err


def test_the_tables_say_what_top1_is(paths, capsys):
    assert cli.main([*paths, *QUICK, "--min-top1", "80"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "The frontier" in shown
    assert "Take LeViT-192 (published top-1 80 %), fp32, on onnxruntime with 1 thread at batch 1" in shown
    assert "it was not measured here" in shown
    assert "left out: levit-128S: published top-1 is 76.6 %" in shown


def test_where_nothing_meets_it_the_nearest_is_said_with_exit_code_1(paths, capsys):
    assert cli.main([*paths, *QUICK, "--max-latency-ms", "0.000001"]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "Nothing meets it. The nearest: LeViT-" in shown
    assert "ms where 1e-06 ms are allowed" in shown


def test_a_top1_that_no_variant_has_needs_no_measuring(capsys):
    assert cli.main(["--min-top1", "95"]) == 1
    assert "the nearest is LeViT-384 with 82.6 %" in capsys.readouterr().err


def test_bundles_that_are_not_as_published_leave_nothing_to_measure(make_bundle, capsys):
    assert cli.main([str(proven(make_bundle).path), *QUICK, "--min-top1", "70"]) == 1
    assert "no top-1 is published for 5 classes at 32 pixels" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "nothing is wanted"),
        (("--max-latency-ms", "-1"), 2, "above 0"),
        (("--min-top1", "70", "--budget", "0"), 2, "--budget 0"),
        (("--min-top1", "70", "--engine", "nonsense"), 2, "unknown engine 'nonsense'"),
        (("--min-top1", "70", "--engine", "tensorrt"), 4, "levit-deploy[gpu]"),
        (("--min-top1", "70", "--batch", "8"), 2, "takes batches of 1 to 1, none of --batch 8"),
        (("--min-top1", "70", "--keep", "."), 2, "no BUNDLE beside it"),
        (("--min-top1", "70", "--output", "/no/such/folder/tune.json"), 2, "existing folder"),
    ],
)
def test_what_cannot_be_done_is_refused(make_bundle, capsys, arguments, code, message):
    path = str(proven(make_bundle).path)
    assert cli.main([path, "--engine", "onnxruntime", *arguments]) == code
    assert message in capsys.readouterr().err


def test_a_bundle_that_is_given_twice_is_refused(make_bundle, capsys):
    path = str(proven(make_bundle).path)
    assert cli.main([path, path, *QUICK, "--min-top1", "70"]) == 2
    assert "given twice" in capsys.readouterr().err


def test_without_an_engine_that_works_the_environment_is_at_fault(monkeypatch):
    class Nothing:
        verdicts = ()

    monkeypatch.setattr(engines, "examine", lambda *_: Nothing)
    with pytest.raises(EnvironmentIncompleteError, match="no engine works here"):
        working_engines()


@pytest.mark.parametrize(("top1", "archs"), [(None, 5), (80.0, 3), (82.0, 1), (90.0, 0)])
def test_only_variants_that_are_accurate_enough_are_exported(top1, archs):
    assert len(variants_for(top1)) == archs


@pytest.mark.slow
def test_what_is_exported_is_kept_and_taken_again(tmp_path):
    names = []
    (source,) = exported(("128S",), ("onnxruntime",), (1,), tmp_path, names.append)
    assert names == ["levit-128S-fp32"]
    assert source.commands == ("levit-export --arch 128S --pretrained -o levit-128S-fp32",)
    assert source.bundle.manifest.weights["origin"] == "untrained"
    before = (tmp_path / "levit-128S-fp32" / "manifest.json").stat().st_mtime_ns
    exported(("128S",), ("onnxruntime",), (1,), tmp_path)
    assert (tmp_path / "levit-128S-fp32" / "manifest.json").stat().st_mtime_ns == before
    (tmp_path / "levit-128S-fp32").rename(tmp_path / "levit-192-fp32")
    with pytest.raises(ConfigError, match="not what is needed"):
        exported(("192",), ("onnxruntime",), (1,), tmp_path)

"""The page of results says what the committed JSON says, and so does the document that quotes it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from levit_deploy.architectures import VARIANTS

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
STUDIES = sorted(RESULTS.glob("bound-study-*.json"))


def test_page_is_generated_from_the_committed_results():
    result = subprocess.run([sys.executable, ROOT / "tools" / "make_results_page.py", "--check"], check=False)
    assert result.returncode == 0, "run tools/make_results_page.py"


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.stem)
def test_bounds_held_and_the_design_document_quotes_the_study(study):
    document = (ROOT / "docs" / "design" / "derived-bounds.md").read_text(encoding="utf-8")
    for arch, variant in json.loads(study.read_text(encoding="utf-8"))["variants"].items():
        rungs, settings = variant["rungs"].values(), variant["settings"]
        assert variant["verdict"] == "pass"
        assert sum(rung["exceeded"] + rung["below_a_hundredth"] for rung in rungs) == 0
        cells = (" / ".join(f"{rung[name]:.3f}" for name in ("smallest", "median", "largest")) for rung in rungs)
        row = " | ".join([arch, f"{settings['image_size']} px", f"{settings['inputs']}", *cells])
        assert f"| {row} |\n" in document


def test_blame_named_the_defects_of_all_variants():
    document = json.loads((RESULTS / "blame-study.json").read_text(encoding="utf-8"))
    summary = document["summary"]
    assert set(summary["by_variant"]) == set(VARIANTS)
    assert summary["defects"] >= 100
    assert summary["exact"] >= 0.95
    assert summary["within_one"] == 1.0
    assert document["verdict"] == "pass"

"""The page of results says what the committed JSON says, and so does the document that quotes it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from scripts import load_script

from levit_deploy.architectures import VARIANTS

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
STUDIES = sorted(RESULTS.glob("bound-study-*.json"))


COST = {
    "arch": "128",
    "precision": "int8",
    "target": "cpu",
    "calibration_method": "minmax",
    "budget": True,
    "kept_layers": 2,
    "layers": 46,
    "images": 599,
    "sqnr_db": 41.26,
    "flips": 1,
    "flips_interval": [0.00004, 0.0093],
    "top1": 0.9866,
    "float32_top1": 0.985,
}


@pytest.fixture(scope="module")
def script():
    return load_script("make_results_page")


ENVIRONMENT = {
    "date": "2026-11-23T00:00:00+00:00",
    "machine": {
        "cpu": "a CPU",
        "usable_cpus": 2,
        "memory_bytes": 24 << 30,
        "system": "Debian",
        "python": "CPython 3.11",
    },
    "packages": {"onnxruntime": "1.32.0", "timm": None},
}


def test_the_study_of_precisions_says_what_each_bundle_lost(script):
    half = {**COST, "precision": "fp16", "calibration_method": "", "budget": False, "kept_layers": None, "flips": 0}
    text = script.precision_study_section({**ENVIRONMENT, "costs": [half, {**COST, "budget": False}, COST]})
    rows = [line for line in text.splitlines() if line.startswith("| LeViT-128 ")]
    assert [row.split(" | ")[1] for row in rows] == [
        "fp16",
        "int8, cpu, minmax",
        "int8, cpu, minmax, with the budget: 2 of 46 layers in float",
    ]
    assert rows[2].endswith("| 41.3 dB | 1 of 599 (0.00% to 0.93%) | 98.66% | 98.50% |")


def test_the_study_of_verdicts_says_its_rates_with_intervals(script):
    rate = {"count": 0, "rate": 0.0, "interval": [0.0, 0.0596]}
    found = {"count": 58, "rate": 0.9667, "interval": [0.885, 0.996]}
    text = script.verdict_study_section(
        {
            **ENVIRONMENT,
            "settings": {
                "engine": "onnxruntime",
                "network": "LeViT-128S",
                "threads": 2,
                "batch": 1,
                "rounds": 40,
                "processes": 4,
                "min_seconds": 0.2,
                "planted_share": 0.05,
            },
            "summary": {
                "runs": 60,
                "false_verdicts": rate,
                "planted_found": found,
                "limits": {"false_verdicts": 0.05, "planted_found": 0.9},
            },
            "runs": [{"steal": 0.01}, {"steal": 0.12}, {"steal": None}],
        }
    )
    assert "| two alike: told apart | 0 | 0.0% | 0.0% to 6.0% | at most 5% |" in text
    assert "| slower by 5%: found slower | 58 | 96.7% | 88.5% to 99.6% | at least 90% |" in text
    assert "stolen by the hypervisor 1% to 12%" in text
    assert "--runs 60 --rounds 40 --processes 4 --min-seconds 0.2" in text


def test_the_headline_stands_beside_what_was_published(script):
    text = script.headline_section(
        {
            "source": "the paper",
            "runs": {"torch-eager": {"environment": ENVIRONMENT}, "onnxruntime": {"environment": ENVIRONMENT}},
            "pairs": [
                {
                    "network": "LeViT-192",
                    "other": "EfficientNet-B2",
                    "published": 4.942,
                    "measured": {
                        "torch-eager": {"ratio": 3.0, "interval": [2.9, 3.1], "rounds": 9},
                        "onnxruntime": {"ratio": 2.0, "interval": None, "rounds": 3},
                    },
                }
            ],
            "speeds": [{"network": "LeViT-192", "published": 65.014, "measured": {"onnxruntime": 44.44}}],
        }
    )
    assert "| LeViT-192 : EfficientNet-B2 | 4.94 | 3.00 (2.90 to 3.10) | 2.00 |" in text
    assert "| LeViT-192 | 65.0 | – | 44.4 |" in text


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

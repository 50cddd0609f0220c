"""README and page of results from runs that are committed; here from runs that nobody measured."""

import re
import shutil
from pathlib import Path

import pytest
from bench_records import full_record, hostile_record, record, small_record
from scripts import load_script

from levit_benchmarks.bench.document import RecordError, write_record
from levit_benchmarks.bench.markdown import BEGIN, END, fill, readme_block, section

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def tool():
    return load_script("make_results_page")


@pytest.fixture
def tree(tmp_path):
    results = tmp_path / "benchmarks" / "results"
    results.mkdir(parents=True)
    (tmp_path / "README.md").write_text("# name\n\nWhat it is.\n\n## Quick start\n\nText.\n", encoding="utf-8")
    (results / "README.md").touch()
    shutil.copy(ROOT / "benchmarks" / "results" / "export-cost-384.json", results)
    return tmp_path


def test_without_a_run_the_readme_stays_as_it_is(tool, tree):
    before = (tree / "README.md").read_text()
    assert tool.main([], tree) == 0
    assert (tree / "README.md").read_text() == before
    assert "levit-bench" not in (tree / "benchmarks" / "results" / "README.md").read_text()
    assert tool.main(["--check"], tree) == 0


def test_the_first_run_brings_its_tables_and_picture(tool, tree):
    results = tree / "benchmarks" / "results"
    write_record(full_record(), results / "laptop.json")
    assert tool.main(["--check"], tree) == 1
    assert tool.main([], tree) == 0
    assert tool.main(["--check"], tree) == 0
    readme = (tree / "README.md").read_text()
    assert readme.index("What it is.") < readme.index(BEGIN) < readme.index(END) < readme.index("## Quick start")
    assert re.search(r"\| LeViT-384 onnxruntime \| 41\.1 .*\| faster \|", readme)
    for target in re.findall(r"\]\(([^)]+)\)", readme):
        assert (tree / target).exists(), target
    page = (results / "README.md").read_text()
    assert "## levit-bench: laptop" in page
    assert "## What an export of LeViT-384 costs" in page
    for target in re.findall(r"\]\(([^)]+)\)", page):
        assert (results / target).exists(), target


def test_check_sees_an_edited_figure_and_a_missing_picture(tool, tree):
    results = tree / "benchmarks" / "results"
    write_record(full_record(), results / "laptop.json")
    tool.main([], tree)
    readme = tree / "README.md"
    right = readme.read_text()
    readme.write_text(right.replace("41.1", "11.1"))
    assert tool.main(["--check"], tree) == 1
    readme.write_text(right)
    assert tool.main(["--check"], tree) == 0
    (results / "laptop-frontier.svg").unlink()
    assert tool.main(["--check"], tree) == 1


def test_a_run_that_goes_takes_its_tables_along(tool, tree):
    before = (tree / "README.md").read_text()
    run = tree / "benchmarks" / "results" / "laptop.json"
    write_record(small_record(), run)
    tool.main([], tree)
    assert BEGIN in (tree / "README.md").read_text()
    run.unlink()
    tool.main([], tree)
    assert (tree / "README.md").read_text() == before


def test_an_altered_run_is_refused_by_name(tool, tree):
    run = tree / "benchmarks" / "results" / "laptop.json"
    write_record(small_record(), run)
    run.write_text(run.read_text().replace('"batch": 1,', '"batch": 0,'))
    with pytest.raises(RecordError, match=r"laptop\.json: groups\[0\] has a batch or threads below 1"):
        tool.main([], tree)


def test_the_section_of_a_run_has_every_table():
    text = section(full_record(), "laptop")
    for part in (
        "### Single-stream, batch 1, 2 threads\n",
        "### Offline, batch 8, 2 threads\n",
        "- The hypervisor gave up to 11 % of the CPU time to others.\n",
        "- Sessions, the best of those tried: LeViT-384 onnxruntime 2 sessions of 1 thread",
        "| threads | fp32, Gop/s | int8, Gop/s | memory, GB/s |\n| --- | --- | --- | --- |\n| 2 | 130 | 410 | 22.0 |\n",
        "- fp32: sgemm of 2048 x 2048, best of 20.\n",
        "| LeViT-384 onnxruntime | 2 | 2 | 0.110 | 0.220 | 0.330 | 0.440 | 0.550 | 1.65 | 1.50 to 1.80 |\n",
        "| LeViT-384 onnxruntime, coffee | 2 | 2 | 3.10 | 1.90 | 41.0 | 0.0210 | 46.0 | 46.0 |\n",
        "| LeViT-384 timm | timm 1.32.0 | golden logits, 0.04 of the bound | `ab12ab12ab12` |\n",
        "Samples: [laptop.json](laptop.json).",
    ):
        assert part in text, part


def test_tables_have_as_many_cells_in_every_row_whatever_the_names():
    for text in (section(full_record(), "x"), section(hostile_record(), "x"), section(record(), "x")):
        for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1
        assert "<script" not in text
        assert not set(text) & {"\x00", "\x1b", "\N{RIGHT-TO-LEFT OVERRIDE}", "\ud800"}


def test_the_readme_shows_the_first_single_stream_group_of_each_run():
    made = full_record()
    turned = full_record(groups=made.groups[::-1])
    block = readme_block([("one", made), ("two", turned)], ["one-frontier.svg"], "results")
    assert block.count("Single-stream, batch 1, 2 threads, on AMD EPYC 7B13") == 2
    assert "![Published top-1 over measured latency of the five variants](results/one-frontier.svg)" in block
    assert "Offline" not in block
    assert "Offline" in readme_block([("one", full_record(groups=made.groups[1:]))], [], "results")
    assert readme_block([], [], "results") == ""
    assert "samples" not in readme_block([("one", record())], [], "results")


@pytest.mark.parametrize(
    "text", [f"{END}\n{BEGIN}\n", f"only {BEGIN}", f"only {END}"], ids=["turned", "no end", "no beginning"]
)
def test_markers_that_are_not_a_pair_are_refused(text):
    with pytest.raises(ValueError, match="not a pair"):
        fill(text, "block\n")


def test_what_stands_around_the_markers_stays():
    text = "# a\n\nb\n\n## c\n\nd\n"
    filled = fill(text, "first\n")
    assert fill(filled, "first\n") == filled
    assert fill(filled, "second\n") == filled.replace("first", "second")
    assert fill(filled, "") == text
    assert fill("# a\n", "x\n").startswith("# a\n")

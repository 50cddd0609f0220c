import importlib.util
import re
import subprocess
import sys
from dataclasses import replace
from xml.etree import ElementTree

import matplotlib
import pytest
from bench_records import EVIL, candidate, family, full_record, group, hostile_record, record, small_record

from levit_benchmarks.bench import plots
from levit_benchmarks.bench.plots import drawings, for_a_page, frontier
from levit_benchmarks.bench.record import OFFLINE
from levit_deploy.architectures import PUBLISHED
from levit_deploy.errors import EnvironmentIncompleteError

TEXT = "{http://www.w3.org/2000/svg}text"


def words(drawing):
    return [element.text for element in ElementTree.fromstring(drawing.svg).iter(TEXT)]


@pytest.fixture(scope="module")
def full():
    return {drawing.name: drawing for drawing in drawings(full_record())}


def test_draws_what_the_run_has_figures_for(full):
    assert list(full) == ["frontier-1", "latency-1", "share-1", "latency-2", "share-2"]
    bare = record(group({"a": 5.0}, candidates=(candidate("a", macs=None),)))
    assert [drawing.name for drawing in drawings(bare)] == ["latency-1"]
    assert drawings(record()) == ()


def test_the_frontier_says_that_its_accuracy_is_published_and_not_measured(full):
    shown = words(full["frontier-1"])
    assert "ImageNet top-1, % (published, not measured)" in shown
    assert any("measured here" in text for text in shown)
    assert {"LeViT, onnxruntime", "LeViT, timm"} <= set(shown)
    for arch in PUBLISHED:
        assert shown.count(arch) == 2
    assert "was not measured here" in full["frontier-1"].caption
    assert "LeViT, onnxruntime: 128S 6.11 ms" in full["frontier-1"].description


def test_only_what_was_published_is_on_the_frontier():
    candidates, times = family("onnxruntime")
    smaller = tuple(replace(one, image_size=160) for one in candidates)
    assert frontier(record(group(times, candidates=smaller, count=9))) is None
    others = tuple(replace(one, network=f"EfficientNet-B{place}") for place, one in enumerate(candidates))
    assert frontier(record(group(times, candidates=others, count=9))) is None
    assert frontier(small_record()) is None  # one variant is no frontier
    assert frontier(record(group(times, candidates=candidates, count=9, scenario=OFFLINE))) is None
    assert frontier(record(group(times, candidates=candidates, count=9))).name == "frontier-1"


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (("LeViT-128S onnxruntime", "LeViT-128 onnxruntime"), "LeViT, onnxruntime"),
        (("levit-128S-fp32 openvino", "levit-128-fp32 openvino"), "LeViT, fp32 openvino"),
        (("timm-compile levit-128S-fp32", "timm-compile levit-128-fp32"), "LeViT, timm-compile fp32"),
        (("LeViT-128S", "LeViT-128"), "LeViT, some engine fp32"),
        (("mine some engine", "other some engine"), "LeViT, some engine fp32"),
    ],
)
def test_variants_on_one_engine_are_one_line(names, line):
    candidates = tuple(
        candidate(name, network=network, engine="some engine")
        for name, network in zip(names, ("LeViT-128S", "LeViT-128"), strict=True)
    )
    drawing = frontier(record(group(dict(zip(names, (5.0, 6.0), strict=True)), candidates=candidates)))
    assert drawing.description.count("; ") == 0
    assert line in words(drawing)


def test_peers_that_the_paper_names_are_drawn_at_their_own_sizes():
    networks = {"LeViT-192": 224, "LeViT-256": 224, "EfficientNet-B2": 260, "EfficientNet-B3": 300, "DeiT-Tiny": 192}
    candidates = tuple(
        candidate(f"{network.lower()}:onnxruntime", network=network, image_size=size)
        for network, size in networks.items()
    )
    times = {one.name: 5.0 + place for place, one in enumerate(candidates)}
    drawing = frontier(record(group(times, candidates=candidates)))
    assert {"LeViT, onnxruntime", "EfficientNet, onnxruntime", "192", "256", "B2", "B3"} <= set(words(drawing))
    assert "DeiT" not in drawing.svg  # not at the size that was published


def test_shares_are_written_beside_their_bars(full):
    shown = words(full["share-1"])
    assert "88 %" in shown
    assert "LeViT-384 onnxruntime" in shown
    unknown = candidate("b", macs=None)
    drawn = drawings(record(group({"a": 20.0, "b": 20.0}, candidates=(candidate("a"), unknown))))
    assert "unknown" in words(drawn[-1])
    beyond = drawings(record(group({"a": 4.0}, candidates=(candidate("a"),))))
    assert re.search(r"a: 9\d\d %", beyond[-1].description)


@pytest.mark.parametrize("made", [full_record, hostile_record], ids=["full", "hostile"])
def test_every_drawing_is_xml_that_needs_nothing_else(made):
    for drawing in drawings(made()):
        root = ElementTree.fromstring(drawing.svg)
        assert not {element.tag.rpartition("}")[2] for element in root.iter()} & {"script", "image", "foreignObject"}
        assert set(re.findall(r"url\((.)", drawing.svg)) <= {"#"}
        assert "<script" not in drawing.svg
        assert not set(drawing.svg) & {"\x00", "\x1b", "\ud800"}
        assert EVIL not in drawing.description or "<" not in for_a_page(drawing).partition(">")[0][4:]


def test_names_inside_are_apart_when_drawings_share_a_page(full):
    names = [name for drawing in full.values() for name in re.findall(r' id="([^"]+)"', for_a_page(drawing))]
    assert len(names) == len(set(names))
    for drawing in full.values():
        element = for_a_page(drawing)
        defined = set(re.findall(r' id="([^"]+)"', element))
        assert {*re.findall(r'xlink:href="#([^"]+)"', element), *re.findall(r"url\(#([^)]+)\)", element)} <= defined


def test_one_call_and_equal_calls_can_be_drawn():
    made = record(group({"a": 5.0}, rounds=1, count=1))
    (one,) = made.groups
    burst = replace(one.rounds[0].bursts["a"], latencies_ns=(5_000_000,) * 12)
    equal = replace(one, rounds=(replace(one.rounds[0], bursts={"a": burst}),))
    for run in (made, record(equal)):
        assert "latency-1" in [drawing.name for drawing in drawings(run)]


def test_the_same_run_is_the_same_drawing_whatever_the_settings_of_matplotlib(full):
    with matplotlib.rc_context({"lines.linewidth": 9.0, "font.size": 30.0, "text.usetex": True, "svg.hashsalt": "x"}):
        before = dict(matplotlib.rcParams)
        assert {drawing.name: drawing for drawing in drawings(full_record())} == full
        assert dict(matplotlib.rcParams) == before


def test_a_missing_matplotlib_is_named_with_the_extra_that_brings_it(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda asked: None if asked == "matplotlib" else found(asked))
    for attempt in (drawings, frontier):
        with pytest.raises(EnvironmentIncompleteError, match=r'matplotlib not installed.*"levit-deploy\[report\]"'):
            attempt(small_record())


def test_can_be_imported_without_the_extra():
    code = (
        "import sys\nfor name in ('jinja2', 'markupsafe', 'matplotlib', 'scipy', 'torch'): sys.modules[name] = None\n"
        "from levit_benchmarks.bench import comparison, document, markdown, page, plots, tables"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_colours_are_dark_enough_on_white():
    for color in (*(look[0] for look in plots.LOOKS), plots.INK, plots.QUIET, plots.FILL):
        channels = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
        luminance = sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
        assert 1.05 / (luminance + 0.05) >= 4.5, color
    assert len({look[1] for look in plots.LOOKS}) == len(plots.LOOKS)

import importlib.util
import math
import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from verification_reports import (
    CULPRIT,
    EVIL,
    FURTHER_CULPRIT,
    HASHES,
    PROBES,
    STAGES,
    batch_checks,
    blame,
    depth,
    image_set,
    make_bundle_value,
    make_report,
    missing_report,
    passing_report,
    passing_stage,
    rung_record,
)

from levit_deploy.blame import Blame, ProbeError
from levit_deploy.errors import ConfigError, EnvironmentIncompleteError
from levit_deploy.rung_record import FlipRecord
from levit_engines.verification import page, page_content
from levit_engines.verification.page import MARKER, render_page, require_destination, require_packages, write_page
from levit_engines.verification.report import ImageSet, Origin, Stage

VOID = {"meta", "link", "img", "br", "hr", "input", "wbr", "base", "col", "area", "embed", "source", "track"}


class Document(HTMLParser):
    """What a page holds: tags with their attributes, and text by the tag that it stands in; fails on crossed tags."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs), (tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert "svg" in self.open or tag in VOID, tag
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, self.getpos()

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def text(self, *, outside=("style", "title")):
        return " ".join(" ".join(data for tag, data in self.texts if tag not in outside).split())

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def passing():
    return render_page(passing_report())


@pytest.fixture(scope="module")
def missing():
    return render_page(missing_report())


@pytest.fixture(params=["passing", "missing"])
def any_page(request):
    return request.getfixturevalue(request.param)


def small_report():
    """What is quick to draw, for tests that care about other things."""
    return make_report([Stage(name="fused", origin=Origin.MEASURED, rungs=(rung_record(),))])


def shown(text):
    return Document(text).text()


def test_needs_nothing_beside_itself(any_page):
    assert "http" not in any_page.replace("http-equiv", "")
    assert "@import" not in any_page
    assert set(re.findall(r"url\((.)", any_page)) <= {"#"}
    document = Document(any_page)
    tags = {tag for tag, _ in document.tags}
    assert not tags & {"script", "link", "iframe", "object", "embed", "base", "form"}
    for _, attributes in document.tags:
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("src", "data:image/jpeg;base64,").startswith("data:image/jpeg;base64,")
        assert attributes.get("href", "#").startswith("#")
        assert attributes.get("xlink:href", "#").startswith("#")
    policy = next(meta["content"] for meta in document.all("meta") if "http-equiv" in meta)
    assert "default-src 'none'" in policy


def test_is_a_document_that_screen_readers_find_their_way_in(any_page):
    document = Document(any_page)
    assert any_page.encode().startswith(MARKER)
    assert document.all("html") == [{"lang": "en"}]
    assert any(meta.get("name") == "viewport" for meta in document.all("meta"))
    tags = [tag for tag, _ in document.tags]
    assert tags.count("h1") == tags.count("main") == tags.count("title") - _hints(document) == 1
    assert tags.count("table") == tags.count("caption")
    assert all("scope" in cell for cell in document.all("th"))
    assert all("alt" in image for image in document.all("img"))
    assert all(drawing["role"] == "img" and drawing["aria-label"] for drawing in document.all("svg"))
    names = [attributes["id"] for _, attributes in document.tags if "id" in attributes]
    assert len(names) == len(set(names))
    for _, attributes in document.tags:
        for target in (attributes.get("href"), attributes.get("aria-labelledby")):
            assert target is None or target.removeprefix("#") in names


def _hints(document):
    return sum(attributes.get("id", "").startswith("probe-") for attributes in document.all("g"))


def test_says_first_that_it_passes(passing):
    text = shown(passing)
    assert text.startswith("✓ PASS levit-384-fp32 5 stages and no error larger than rounding explains, on 12 images.")
    assert "What failed" not in passing
    for fact in (
        "LeViT-384, 224 × 224 pixels, 1000 classes",
        "fp32, cpu",
        "2026-11-22 13:05:07 UTC",
        "the eager model in float64, from the official weights",
        "12: golden images of the bundle",
        "bundles/levit-384-fp32",
        "Weights official Measured",
    ):
        assert fact in text


def test_says_that_untrained_weights_mean_nothing():
    bundle = make_bundle_value(weights={"origin": "untrained", "seed": 0})
    assert "Weights untrained: the classes mean nothing" in shown(render_page(replace(small_report(), bundle=bundle)))
    bundle = make_bundle_value(weights={})
    assert "Weights of unknown origin" in shown(render_page(replace(small_report(), bundle=bundle)))


def test_counts_what_was_only_recorded():
    stages = [passing_stage("fused"), passing_stage("traced", origin=Origin.RECORDED)]
    text = shown(render_page(make_report(stages)))
    assert "2 stages and no error larger than rounding explains, on 12 images; 1 of them as recorded" in text


def test_says_first_why_it_misses(missing):
    text = shown(missing)
    start = text[: text.index("The ladder")]
    assert start.startswith("✗ MISS")
    for sentence in (
        "2 of 5 stages miss, 1 could not be run, 1 finding beside the stages.",
        "the weights are not those of the bundle",
        "could not be run: torch could not trace it",
        "missed at batch 2: coffee is at 2346 × its bound of 4.56e-05; also at batch 4",
        f"first wrong module: {CULPRIT}",
        f"first wrong module: {FURTHER_CULPRIT.partition(':')[0]}",
        "the error of astronaut is not a number, allowed is 4.56e-05",
        "batch check “extreme neighbours” at batch 8: rocket, at position 7, becomes a value that is not a number",
    ):
        assert sentence in start


def test_names_a_miss_that_was_recorded():
    stage = Stage(name="fused", origin=Origin.RECORDED, rungs=(rung_record(share=math.inf),))
    text = shown(render_page(make_report([stage])))
    assert "missed when the bundle was made at batch 1: the error of coffee is infinite as a share of its bound" in text
    assert "1 of 1 stage misses" in text


def test_holds_every_stage_verdict_and_figure(passing):
    text = shown(passing)
    for name in STAGES:
        assert f"{name} measured ✓ pass 8 " in text
    assert "fused measured ✓ pass 8 6.45e-06 4.56e-05 12.9 % 1.55e-07 118.4 chelsea 100 % 100 % none 2.70e-06 " in text
    assert "from eager fp32 3.0 %" in text
    assert "✗" not in text


def test_says_what_was_recorded_and_what_could_not_be_run(missing):
    text = shown(missing)
    assert "eager fp32 recorded at export ✓ pass" in text
    assert "traced could not be run – not run 'torch could not trace it" in text
    assert "measured ✗ miss 1 batch check missed" in text


def test_escapes_everything_that_a_bundle_or_a_file_says(missing):
    assert "<script" not in missing
    assert "{{ 7 * 7 }}" in missing
    # Neither what turns the direction of reading nor what no file can hold.
    assert not set(missing) & {"\N{RIGHT-TO-LEFT OVERRIDE}", "\x00", "\ud800"}
    text, escaped = shown(missing), ascii(EVIL)
    for before in ("MISS", "Note", "cpu", "engine", "origin", "notes", "Engine:"):
        assert re.search(rf"{before} '?[^']*{re.escape(escaped[1:-1])}", text), before
    assert f"{escaped[1:-1]} (0)" in text


def test_writes_numbers_that_are_none_as_words(missing):
    text = shown(missing)
    assert re.search(r"\bnan\b|\binf\b", text, re.IGNORECASE) is None
    assert "not a number 4.56e-05 not a number not a number infinite image 99 25.0 % 100 %" in text


def test_shows_flipped_images_with_names_of_classes_and_margins(missing):
    text = shown(missing)
    coffee = "coffee Truth kind 74 (74) Instead kind 1 (1) Margin in the truth 1.23e-02 At simplified, batch 2, 4"
    assert coffee in text
    assert "noise Truth kind 259 (259) Instead kind 4 (4) Margin in the truth 1.75e+00 At simplified, batch 2" in text
    # The largest margin first; what does not exist is said, not left out.
    cards = text[text.index("Changed classes Images") :]
    assert cards.index("image -1") < cards.index("noise Truth") < cards.index("coffee Truth")
    assert "class 4000, which has no name" in cards
    assert "not among the images of this run" in cards
    assert "coffee (1.23e-02)" in text


def test_leaves_out_what_is_not_there():
    text = shown(render_page(replace(small_report(), seconds={"read": 0.25})))
    assert "Changed classes" not in text
    assert "Note" not in text
    assert "together 0.2 s" in text


def test_limits_the_number_of_pictures_and_says_so():
    count = page_content.MOST_IMAGES_SHOWN + 1
    flips = tuple(
        FlipRecord(image=index, reference_class=1, candidate_class=2, margin=1.0 + index) for index in range(60)
    )
    images = ImageSet(
        source="a folder",
        names=tuple(f"file {index}.jpg" for index in range(count)),
        pixels=np.zeros((count, 4, 4, 3), np.uint8),
        best_classes=(1,) * count,
    )
    stage = Stage(name="fused", origin=Origin.MEASURED, rungs=(rung_record(flips=flips),))
    written = render_page(make_report([stage], images=images))
    assert len(Document(written).all("img")) == page_content.MOST_FLIPS_SHOWN + page_content.MOST_IMAGES_SHOWN
    text = shown(written)
    assert "The 48 with the largest margins of 60" in text
    assert "The first 200 of 201" in text
    assert "60 in all" in text


def test_does_not_show_another_image_for_one_that_was_recorded():
    flip = FlipRecord(image=1, reference_class=1, candidate_class=2, margin=0.5)
    recorded = Stage(name="eager fp32", origin=Origin.RECORDED, rungs=(rung_record(flips=(flip,)),))
    mine = replace(image_set(), names=tuple(f"{index}.jpg" for index in range(12)))
    text = shown(render_page(make_report([recorded], images=mine)))
    assert "golden image 1 Truth" in text
    assert "not among the images of this run" in text
    assert "✗ changed" not in text
    assert "chelsea Truth" in shown(render_page(make_report([recorded])))


def test_draws_errors_over_depth_and_marks_the_culprits(missing):
    document = Document(missing)
    drawing = "\n".join(data for tag, data in document.texts if tag == "text")
    for name in ("stem", "stage 0", "downsample 1", "stage 1", "downsample 2", "stage 2", "head", "block 3"):
        assert name in drawing
    assert f"first wrong: {CULPRIT} (1)" in drawing
    assert f"first wrong: {FURTHER_CULPRIT} (2)" in drawing
    assert document.all("svg")[0]["aria-label"].endswith(f"first wrong module {FURTHER_CULPRIT}")
    text = document.text()
    assert f"First wrong module: {CULPRIT} , where the error is" in text
    assert (
        f"First wrong module: {FURTHER_CULPRIT.partition(':')[0]} , at {FURTHER_CULPRIT} , where the error is" in text
    )
    assert "bound, how far rounding may move it" in text


def test_gives_the_drawing_as_a_table_and_as_hints_too(passing):
    document = Document(passing)
    text = document.text()
    assert f"All {len(PROBES)} values of the drawing as a table" in text
    assert _hints(document) == len(PROBES)
    for probe in PROBES:
        assert passing.count(f">{probe.name}") >= 2
    assert "not offered" in text


def test_draws_numbers_that_no_axis_can_hold():
    bounds = [0.0, math.inf, math.nan, 1e308, 5e-324, 1.0]
    errors = [math.nan, math.inf, 1.0, 5e-324, 1e308, 0.0]
    found = tuple(
        ProbeError(probe=probe, image=0, error=error, bound=bound, magnitude=1.0)
        for probe, error, bound in zip(PROBES, errors, bounds, strict=False)
    )
    for values in (found, found[:1], found[-1:]):
        text = shown(render_page(make_report([passing_stage("fused", depth=values)])))
        assert f"All {len(values)} values of the drawing as a table" in text


def test_marks_a_culprit_once_for_all_stages_and_without_number_when_alone():
    profile = depth(1, CULPRIT)
    stages = [passing_stage(name, depth=profile, blame=blame(name, profile=profile)) for name in ("fused", "traced")]
    document = Document(render_page(make_report(stages)))
    drawing = [data.strip() for tag, data in document.texts if tag == "text"]
    assert drawing.count(f"first wrong: {CULPRIT}") == 1
    assert "is allowed (fused, traced)" in document.text()


def test_keeps_the_path_of_a_late_culprit_inside_the_drawing():
    profile = depth(1, "head")
    stage = passing_stage("fused", depth=profile, blame=blame("fused", "head", profile))
    assert re.search(r"text-anchor: end[^>]*>first wrong: head<", render_page(make_report([stage])))


def test_tells_of_an_error_that_no_module_is_to_blame_for():
    nobody = Blame(stage="fused", batch_size=1, before=None, after=None)
    stage = passing_stage("fused", rungs=(rung_record(share=2.0),), blame=nobody)
    text = shown(render_page(make_report([stage])))
    assert nobody.sentence() in text
    assert "First wrong module" not in text


@pytest.mark.parametrize(
    ("origin", "sentence"),
    [
        (Origin.RECORDED, "No stage was measured in this run"),
        (Origin.MEASURED, "fused gave logits but no values inside the network"),
    ],
)
def test_says_why_there_is_no_drawing(origin, sentence):
    stage = Stage(name="fused", origin=origin, rungs=(rung_record(),))
    written = render_page(make_report([stage]))
    assert "<svg" not in written
    assert sentence in shown(written)


def test_gives_the_batch_checks_by_size_with_a_mark_beside_the_colour(passing, missing):
    text = shown(passing)
    assert "Check Batch 1 Batch 2 Batch 4 Batch 8" in text
    assert "repeated 20.0 % ✓ 0 of 2 identical 20.0 % ✓ 0 of 4 identical" in text
    assert "order 20.0 % ✓ 0 of 2 identical does not apply does not apply does not apply" in text
    assert "0.0 % ✓ identical" in text
    assert "padded Some images, and zeros behind them." in text
    assert "16 of 172 compared rows are identical to the last bit" in text
    assert "not a number ✗ miss, 3 of 16 identical" in shown(missing)


def test_gives_the_figures_of_a_batch_check_that_misses():
    checks = batch_checks(0.1, worst_share=1.5, worst_error=1.35e-04, identical_rows=0)
    text = shown(render_page(make_report([passing_stage("onnxruntime", batch_checks=checks)])))
    assert "order One image after another" in text
    assert "rocket, at position 7, changes by 1.35e-04, 150.0 % of what rounding allows" in text


def test_explains_only_the_batch_checks_that_ran():
    checks = tuple(check for check in batch_checks() if check.batch_size == 1)
    text = shown(render_page(make_report([passing_stage("onnxruntime", batch_checks=checks)])))
    assert "repeated A batch run again" in text
    assert "One image beside" not in text


def test_tells_where_everything_comes_from(passing):
    text = shown(passing)
    for name, digest in HASHES.items():
        assert f"{name} 1 234 567 bytes (1.2 MiB) {digest}" in text
    for fact in (
        "state sha256 " + "e5" * 32,
        "notes the distillation head was folded in",
        "container none",
        "simplified true",
        "Engine: onnxruntime engine onnxruntime 1.32.0",
        "cpu AMD EPYC 7B13",
        "truth 41.2 s",
        "together 75.2 s",
        "levit-verify bundles/levit-384-fp32",
    ):
        assert fact in text


def test_tells_what_each_layer_costs_the_most_expensive_first():
    shares = {"stages.0.blocks.1.mlp.expand": 70.25, "<b>": 41.0, "stages.1.downsample.attention.query": 55.5}
    bundle = make_bundle_value(
        graph={"quantization": {"sqnr_db_of_each_layer_alone": shares, "kept_layers": ["<b>"]}}, precision="int8"
    )
    text = shown(render_page(replace(small_report(), bundle=bundle)))
    assert (
        "<b> no, kept 41.0 dB stages.1.downsample.attention.query yes 55.5 dB "
        "stages.0.blocks.1.mlp.expand yes 70.2 dB" in text
    )


@pytest.mark.parametrize("record", [None, 3, {}, {"sqnr_db_of_each_layer_alone": ["x"]}])
def test_tells_nothing_of_layers_where_the_manifest_does_not(record):
    bundle = make_bundle_value(graph={"quantization": record})
    assert "what each layer costs" not in shown(render_page(replace(small_report(), bundle=bundle)))


def test_repeats_the_command_line_it_was_given():
    text = shown(render_page(small_report(), command="levit-verify b --untrained"))
    assert "This page was written by levit-verify b --untrained With the versions" in text


@pytest.mark.parametrize(
    ("recorded", "said"),
    [
        ("2026-11-22T14:05:07+01:00", "Measured 2026-11-22 13:05:07 UTC"),
        ("2026-11-22T14:05:07", "Measured 2026-11-22T14:05:07 The"),
        ("yesterday", "Measured yesterday"),
        ("", "Measured not recorded"),
    ],
)
def test_says_when_it_was_measured(recorded, said):
    report = replace(small_report(), environment={"date": recorded})
    assert said in shown(render_page(report))


def test_is_the_same_in_another_process_and_needs_no_torch(missing):
    code = (
        "import sys\nfor name in ('torch', 'onnxruntime', 'matplotlib.pyplot'): sys.modules[name] = None\n"
        "from verification_reports import missing_report\n"
        "from levit_engines.verification.page import render_page\n"
        "sys.stdout.buffer.write(render_page(missing_report()).encode())"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONHASHSEED": "7"}
    written = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True).stdout
    assert written.decode() == missing


def test_neither_obeys_nor_changes_settings_of_matplotlib(passing):
    with matplotlib.rc_context({"lines.linewidth": 9.0, "font.size": 30.0, "text.usetex": True, "svg.hashsalt": "x"}):
        before = dict(matplotlib.rcParams)
        assert render_page(passing_report()) == passing
        assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("name", page.PACKAGES)
def test_a_missing_package_is_named_with_the_extra_that_brings_it(name, monkeypatch, tmp_path):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda asked: None if asked == name else found(asked))
    for attempt in (
        require_packages,
        lambda: render_page(small_report()),
        lambda: write_page(small_report(), tmp_path / "report.html"),
    ):
        with pytest.raises(
            EnvironmentIncompleteError, match=rf'{name} not installed.*"levit-deploy\[report\]"'
        ) as error:
            attempt()
        assert error.value.exit_code == 4
    assert list(tmp_path.iterdir()) == []


def test_can_be_imported_without_the_extra():
    code = (
        "import sys\nfor name in ('torch', 'jinja2', 'markupsafe', 'matplotlib'): sys.modules[name] = None\n"
        "import levit_engines.verification.page as page\n"
        "try: page.require_packages()\nexcept Exception as error: print(error)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "jinja2, matplotlib not installed" in result.stdout


def test_writes_a_page_and_replaces_only_a_page_of_ours(tmp_path):
    path = tmp_path / "report.html"
    path.write_bytes(MARKER + b"an older page")
    write_page(small_report(), path)
    assert path.read_text(encoding="utf-8") == render_page(small_report())
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _plain_file(path):
    path.write_text("<!doctype html>\n<p>somebody else's")


def _link_to_a_page(path):
    target = path.with_name("target.html")
    target.write_bytes(MARKER)
    path.symlink_to(target)


def _broken_link(path):
    path.symlink_to("nowhere")


@pytest.mark.parametrize("put", [_plain_file, Path.touch, Path.mkdir, _link_to_a_page, _broken_link])
def test_refuses_to_replace_what_is_not_a_page_of_ours(put, tmp_path):
    path = tmp_path / "report.html"
    put(path)
    before = sorted(tmp_path.iterdir())
    for attempt in (lambda: require_destination(path), lambda: write_page(small_report(), path)):
        with pytest.raises(ConfigError, match=r"report\.html: not a page of levit-verify, so it is not replaced"):
            attempt()
    assert sorted(tmp_path.iterdir()) == before


def test_refuses_a_folder_that_is_not_there_or_not_one(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "absent" / "report.html", tmp_path / "file" / "report.html"):
        with pytest.raises(ConfigError, match="not a folder that can be written to"):
            require_destination(path)
    with pytest.raises(ConfigError, match="not a page of levit-verify"):
        require_destination(tmp_path)


def test_refuses_a_folder_that_must_not_be_written_to(tmp_path, monkeypatch):
    monkeypatch.setattr(page.os, "access", lambda path, mode: False)
    with pytest.raises(ConfigError, match="not a folder that can be written to"):
        write_page(small_report(), tmp_path / "report.html")


def test_a_file_that_cannot_be_made_is_the_callers_mistake(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    # Longer than any name may be, whoever runs this: root may write everywhere.
    monkeypatch.setattr(page.secrets, "token_hex", lambda count: "f" * 300)
    with pytest.raises(ConfigError, match=r"cannot be written there \(File name too long\)"):
        write_page(small_report(), path)


def test_takes_every_name_that_a_file_can_have(tmp_path):
    longest = tmp_path / f"{'n' * 250}.html"
    write_page(small_report(), longest)
    assert list(tmp_path.iterdir()) == [longest]
    with pytest.raises(ConfigError, match="cannot be the name of a file"):
        require_destination(tmp_path / f"{'n' * 251}.html")


@pytest.mark.parametrize("older", [None, MARKER + b"an older page"])
def test_leaves_everything_as_it_was_when_writing_fails(older, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    if older is not None:
        path.write_bytes(older)
    monkeypatch.setattr(page.os, "fsync", _raise_no_space)
    with pytest.raises(OSError, match="No space left"):
        write_page(small_report(), path)
    assert (path.read_bytes() if path.exists() else None) == older
    assert list(tmp_path.iterdir()) == ([] if older is None else [path])


def _raise_no_space(*_):
    raise OSError(28, "No space left on device")


def test_does_not_replace_what_somebody_wrote_meanwhile(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    monkeypatch.setattr(page.os, "fsync", lambda _descriptor: _plain_file(path))
    with pytest.raises(ConfigError, match="not a page of levit-verify"):
        write_page(small_report(), path)
    assert list(tmp_path.iterdir()) == [path]
    assert "somebody else's" in path.read_text()

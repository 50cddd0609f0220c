import importlib.util
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from bench_records import EVIL, UNREADABLE, full_record, group, hostile_record, record, small_record

from levit_benchmarks.bench import page, plots
from levit_benchmarks.bench.document import read_record
from levit_benchmarks.bench.page import MARKER, render_page, require_destination, write_report
from levit_deploy.errors import ConfigError, EnvironmentIncompleteError

VOID = {"meta", "link", "img", "br", "hr", "input", "wbr", "base", "col", "area", "embed", "source", "track"}


class Document(HTMLParser):
    """What a page holds: tags with their attributes, and text by the tag it stands in; fails on crossed tags."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert "svg" in self.open or tag in VOID, tag
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, self.getpos()

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def text(self):
        return " ".join(" ".join(data for tag, data in self.texts if tag != "style").split())

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def rendered(made):
    return render_page(made, plots.drawings(made))


@pytest.fixture(scope="module")
def full():
    return rendered(full_record())


@pytest.fixture(scope="module")
def hostile():
    return rendered(hostile_record())


@pytest.fixture(params=["full", "hostile"])
def any_page(request):
    return request.getfixturevalue(request.param)


def test_needs_nothing_beside_itself(any_page):
    assert "http" not in any_page.replace("http-equiv", "")
    assert "@import" not in any_page
    assert set(re.findall(r"url\((.)", any_page)) <= {"#"}
    document = Document(any_page)
    assert not {tag for tag, _ in document.tags} & {"script", "link", "iframe", "object", "embed", "base", "form"}
    for _, attributes in document.tags:
        assert not any(name.startswith("on") for name in attributes)
        assert "src" not in attributes
        assert attributes.get("href", "#").startswith("#")
        assert attributes.get("xlink:href", "#").startswith("#")
    policy = next(meta["content"] for meta in document.all("meta") if "http-equiv" in meta)
    assert "default-src 'none'" in policy


def test_is_a_document_that_screen_readers_find_their_way_in(any_page):
    document = Document(any_page)
    assert any_page.encode().startswith(MARKER)
    assert document.all("html") == [{"lang": "en"}]
    tags = [tag for tag, _ in document.tags]
    assert tags.count("h1") == tags.count("main") == tags.count("title") == 1
    assert tags.count("table") == tags.count("caption")
    assert all("scope" in cell for cell in document.all("th"))
    assert all(drawing["role"] == "img" and drawing["aria-label"] for drawing in document.all("svg"))
    names = [attributes["id"] for _, attributes in document.tags if "id" in attributes]
    assert len(names) == len(set(names))
    for _, attributes in document.tags:
        for target in (attributes.get("href"), attributes.get("aria-labelledby")):
            assert target is None or target.removeprefix("#") in names


def test_obeys_nothing_that_a_file_says(hostile):
    assert "<script" not in hostile
    assert "{{ 7 * 7 }}" in hostile
    assert not set(hostile) & {"\N{RIGHT-TO-LEFT OVERRIDE}", "\x00", "\x1b", "\ud800"}
    assert ascii(EVIL)[1:-1] in Document(hostile).text()


def test_says_first_what_could_be_decided(full, hostile):
    assert "10 comparisons in 2 settings: 10 decided, 0 that this run cannot tell apart" in full
    assert "1 comparison in 1 setting: 0 decided, 1 that this run cannot tell apart" in hostile
    assert "0 settings, nothing to compare" in rendered(record())


def test_shows_all_that_a_run_holds(full):
    document = Document(full)
    text = document.text()
    for sentence in (
        "LeViT-384, onnxruntime, fp32, 720 calls",
        "▼ faster",
        "▲ slower",
        "= baseline",
        "Rounds differ widely for LeViT-384 onnxruntime",
        "Published, not measured".lower(),
        "Cold start",
        "LeViT-384 onnxruntime, coffee",
        "sgemm of 2048 x 2048",
        "provider CPUExecutionProvider",
        "ab12" * 16,
        "thread variables none",
        "timm none",
        "batch 1, 8",
        "revision 0123456789abcdef",
        "All samples are in run.json",
    ):
        assert sentence in text, sentence
    assert len(document.all("svg")) == len(document.all("figure")) == 5


def test_what_was_not_measured_is_left_out():
    text = Document(rendered(record(group({"a": 5.0}, count=9, conditions=UNREADABLE), limits=()))).text()
    for title in ("Cold start", "From a JPEG", "What this machine can do"):
        assert title not in text
    assert "clock unknown" in text
    assert Document(rendered(record(limits=()))).all("svg") == []


def test_a_report_is_a_page_its_plots_and_its_samples(tmp_path):
    written = write_report(small_record(), tmp_path / "report")
    assert written == tmp_path / "report" / "index.html"
    names = {path.name for path in written.parent.iterdir()}
    assert names == {"index.html", "run.json", "latency-1.svg", "share-1.svg"}
    assert read_record(written.parent / "run.json") == small_record()
    assert written.read_text(encoding="utf-8") == rendered(small_record())
    assert list(tmp_path.iterdir()) == [tmp_path / "report"]
    for path in (written, written.parent):
        assert path.stat().st_mode & 0o777 == (0o777 if path.is_dir() else 0o666) & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_replaces_only_a_report_of_ours_and_only_when_told_to(tmp_path):
    folder = tmp_path / "report"
    folder.mkdir()
    write_report(full_record(cold_starts=()), folder)
    with pytest.raises(ConfigError, match="--overwrite"):
        write_report(small_record(), folder)
    assert (folder / "frontier-1.svg").exists()
    write_report(small_record(), folder, overwrite=True)
    assert not (folder / "frontier-1.svg").exists()
    assert list(tmp_path.iterdir()) == [folder]


def _somebodys_page(folder):
    folder.mkdir()
    (folder / "index.html").write_text("<!doctype html>")


def _notes_beside_ours(folder):
    folder.mkdir()
    (folder / "index.html").write_bytes(MARKER)
    (folder / "notes.txt").touch()


def _a_link(folder):
    target = folder.with_name("target")
    target.mkdir()
    folder.symlink_to(target)


@pytest.mark.parametrize("put", [_somebodys_page, _notes_beside_ours, _a_link, Path.touch])
def test_refuses_to_replace_what_is_not_a_report_of_ours(put, tmp_path):
    folder = tmp_path / "report"
    put(folder)
    before = sorted(tmp_path.rglob("*"))
    for attempt in (require_destination, lambda *_, **__: write_report(small_record(), folder, overwrite=True)):
        with pytest.raises(ConfigError, match="not a report of levit-bench, so it is not replaced"):
            attempt(folder, overwrite=True)
    assert sorted(tmp_path.rglob("*")) == before


def test_refuses_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "absent" / "report", tmp_path / "file" / "report"):
        with pytest.raises(ConfigError, match="not a folder that can be written to"):
            require_destination(folder)
    with pytest.raises(ConfigError, match="cannot be the name of a folder"):
        require_destination(tmp_path / ("n" * 300))


@pytest.mark.parametrize("step", ["write", "rename"])
def test_leaves_everything_as_it_was_when_writing_fails(step, tmp_path, monkeypatch):
    folder = tmp_path / "report"
    write_report(full_record(), folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def fail(*_):
        raise OSError(28, "No space left on device")

    if step == "write":
        monkeypatch.setattr("levit_deploy.bundle.os.fsync", fail)
    else:
        rename = Path.rename
        monkeypatch.setattr(Path, "rename", lambda path, to: fail() if path.name == "new" else rename(path, to))
    with pytest.raises(OSError, match="No space left"):
        write_report(small_record(), folder, overwrite=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("name", page.EXTRAS)
def test_a_missing_package_is_named_with_the_extra_that_brings_it(name, monkeypatch, tmp_path):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda asked: None if asked == name else found(asked))
    with pytest.raises(EnvironmentIncompleteError, match=rf'{name} not installed.*"levit-deploy\[report\]"') as error:
        write_report(small_record(), tmp_path / "report")
    assert error.value.exit_code == 4
    assert list(tmp_path.iterdir()) == []

"""Writing a bundle: whole or not at all, and never over what is not ours."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fixtures_bundle import BundleFactory, clean_environment, tiny_manifest, tiny_members

from levit_deploy import bundle as bundle_module
from levit_deploy.bundle import GOLDEN, LABELS, MANIFEST, MODEL, PARITY, open_bundle, write_bundle
from levit_deploy.errors import BundleError, ConfigError

MEMBERS = (MODEL, LABELS, GOLDEN, PARITY)


def test_what_was_written_is_read_again(make_bundle: BundleFactory) -> None:
    written = make_bundle()
    bundle = open_bundle(written.path)
    bundle.verify()
    assert bundle.manifest == written.manifest
    assert {name: bundle.read(name) for name in MEMBERS} == tiny_members()
    assert bundle.labels() == tuple(f"name {index}" for index in range(5))
    assert bundle.golden().names == ("first", "second")
    assert {path.name for path in bundle.path.iterdir()} == {*MEMBERS, MANIFEST}
    assert [path.name for path in bundle.path.parent.iterdir()] == ["bundle"]


def test_the_same_input_writes_the_same_bytes(make_bundle: BundleFactory) -> None:
    first, second = make_bundle("a").path, make_bundle("b").path
    assert (first / MANIFEST).read_bytes() == (second / MANIFEST).read_bytes()


def test_parents_are_made_and_relative_paths_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_bundle(Path("new/deep/bundle"), tiny_manifest(), tiny_members())
    open_bundle(tmp_path / "new/deep/bundle").verify()


def test_an_existing_bundle_is_refused_without_overwrite(make_bundle: BundleFactory) -> None:
    path = make_bundle(name="b").path
    before = (path / MANIFEST).read_bytes()
    with pytest.raises(ConfigError, match="--overwrite"):
        make_bundle(name="b", precision="fp16")
    assert (path / MANIFEST).read_bytes() == before


@pytest.mark.parametrize("inside", [False, True], ids=["from beside", "as the working folder"])
def test_overwrite_replaces_a_bundle(inside: bool, make_bundle: BundleFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_bundle().path
    (path / "stale.plan").write_bytes(b"of the old model")
    if inside:
        monkeypatch.chdir(path)
    destination = Path() if inside else path
    write_bundle(destination, tiny_manifest(precision="fp16"), tiny_members(), overwrite=True)
    assert open_bundle(path).manifest.precision == "fp16"
    assert not (path / "stale.plan").exists()
    assert [entry.name for entry in path.parent.iterdir()] == ["bundle"]


def _folder_of_others(path: Path) -> None:
    path.mkdir()
    (path / "thesis.tex").write_text("years of work")


def _web_project(path: Path) -> None:
    path.mkdir()
    (path / MANIFEST).write_text('{"manifest_version": 3, "name": "an extension"}')


def _file(path: Path) -> None:
    path.write_text("a file")


def _link_to_bundle(path: Path) -> None:
    write_bundle(path.with_name("real"), tiny_manifest(), tiny_members())
    path.symlink_to("real")


def _dangling_link(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize("prepare", [_folder_of_others, _web_project, _file, _link_to_bundle, _dangling_link])
def test_overwrite_replaces_nothing_but_bundles(prepare: Callable[[Path], None], tmp_path: Path) -> None:
    prepare(tmp_path / "target")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match="not a bundle"):
        write_bundle(tmp_path / "target", tiny_manifest(), tiny_members(), overwrite=True)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_bundle_of_another_version_may_be_replaced(make_bundle: BundleFactory) -> None:
    path = make_bundle().path
    (path / MANIFEST).write_text('{"schema_version": 0, "members": {}}')
    write_bundle(path, tiny_manifest(), tiny_members(), overwrite=True).verify()


def test_an_empty_folder_may_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write_bundle(tmp_path / "empty", tiny_manifest(), tiny_members(), overwrite=True).verify()


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, SystemExit], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("fails_at", range(5))
@pytest.mark.parametrize("overwrite", [False, True], ids=["new", "overwrite"])
def test_an_interrupted_write_leaves_the_disk_as_it_was(
    error: type[BaseException],
    fails_at: int,
    overwrite: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if overwrite:
        write_bundle(tmp_path / "bundle", tiny_manifest(), tiny_members())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    written: list[Path] = []

    def write_then_fail(path: Path, content: bytes) -> None:
        if len(written) == fails_at:
            path.write_bytes(content[: len(content) // 2])
            raise error
        written.append(path)
        path.write_bytes(content)

    monkeypatch.setattr(bundle_module, "write_durably", write_then_fail)
    with pytest.raises(error):
        write_bundle(tmp_path / "bundle", tiny_manifest(), tiny_members(), overwrite=overwrite)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert len(list(tmp_path.iterdir())) == int(overwrite)


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("call", [1, 2])
def test_an_interrupt_around_the_renames_keeps_one_whole_bundle(
    call: int, before: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bundle(tmp_path / "bundle", tiny_manifest(), tiny_members())
    rename, calls = Path.rename, []

    def interrupted(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) != call:
            return rename(self, target)
        if not before:
            rename(self, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_bundle(tmp_path / "bundle", tiny_manifest(precision="fp16"), tiny_members(), overwrite=True)
    survivor = open_bundle(tmp_path / "bundle")
    survivor.verify()
    assert survivor.manifest.precision == ("fp16" if (call, before) == (2, False) else "fp32")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


# A shell that runs this suite in the background lets it, and its children, ignore SIGINT.
KILLED = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from pathlib import Path
from fixtures_bundle import tiny_manifest, tiny_members
from levit_deploy import bundle
from levit_deploy.commandline import run_command
write = bundle.write_durably
def slowly(path, content):
    write(path, content)
    print("written", flush=True)
    time.sleep(30)
bundle.write_durably = slowly
def command():
    bundle.write_bundle(Path(sys.argv[1]), tiny_manifest(), tiny_members())
    return 0
sys.exit(run_command("levit-x", command))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_in_mid_write_leaves_nothing(number: signal.Signals, code: int, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, tmp_path / "bundle"],
        env=clean_environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        assert list(tmp_path.glob(".bundle.*.partial"))  # or the test would prove nothing
        process.send_signal(number)
        process.communicate(timeout=30)
    assert process.returncode == code
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "a/../../outside", "manifest.json", ""])
def test_member_names_that_leave_the_bundle_are_never_written(name: str, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="not a member name"):
        write_bundle(tmp_path / "in" / "bundle", tiny_manifest(), {**tiny_members(), name: b"x"})
    assert list(tmp_path.iterdir()) == []


def test_folder_that_appears_during_the_write_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two exports at once, or a user who makes the folder meanwhile: nothing of theirs is replaced."""
    destination, honest = tmp_path / "bundle", bundle_module.os.fsync

    def sync_and_disturb(descriptor: int) -> None:
        honest(descriptor)
        destination.mkdir(exist_ok=True)
        (destination / "thesis.tex").write_text("years of work")

    monkeypatch.setattr(bundle_module.os, "fsync", sync_and_disturb)
    with pytest.raises(ConfigError):
        write_bundle(destination, tiny_manifest(), tiny_members())
    assert (destination / "thesis.tex").read_text() == "years of work"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]

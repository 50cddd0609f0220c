"""The wheel holds what it should: a misspelt entry of `packages` drops a whole package without a word."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import levit_deploy

ROOT = Path(__file__).parents[2]
SOURCES = {
    "levit_deploy": "levit_deploy",
    "levit_export": "export/levit_export",
    "levit_engines": "engines/levit_engines",
    "levit_benchmarks": "benchmarks/levit_benchmarks",
}
DATA = {
    "levit_deploy/data/imagenet1k_labels.txt",
    "levit_deploy/data/imagenet1k_synsets.txt",
    "levit_deploy/data/photographs/README.md",
    *(f"levit_deploy/data/photographs/{name}.jpg" for name in ("astronaut", "chelsea", "coffee", "rocket")),
    "levit_engines/verification/report.html.jinja",
    "levit_benchmarks/bench/report.html.jinja",
    *(f"{package}/py.typed" for package in SOURCES),
}
COMMANDS = {
    *("levit-export", "levit-build", "levit-classify", "levit-verify", "levit-doctor", "levit-eval"),
    *("levit-bench", "levit-tune"),
}


COMPILER = any(map(shutil.which, ("c++", "g++", "clang++")))
NATIVE = "levit_engines/native/liblevit_native.so.1"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build_wheel(tmp_path_factory.mktemp("wheel"))


def build_wheel(folder):
    """The names of all files in the wheel of this checkout, built in `folder`."""
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "-q", "-w", str(folder)],
        cwd=ROOT,
        check=True,
    )
    (path,) = folder.iterdir()
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


def test_holds_every_module_and_data_file_and_nothing_else(wheel):
    modules = {
        f"{package}/{path.relative_to(ROOT / source).as_posix()}"
        for package, source in SOURCES.items()
        for path in (ROOT / source).rglob("*.py")
    }
    content = {name for name in wheel if ".dist-info/" not in name}
    assert content == modules | DATA | ({NATIVE} if COMPILER or "CI" in os.environ else set())


def test_without_a_compiler_there_is_a_wheel_without_kernels(tmp_path, monkeypatch):
    monkeypatch.setenv("LEVIT_WITHOUT_NATIVE", "1")
    assert NATIVE not in build_wheel(tmp_path)
    assert next(tmp_path.iterdir()).name.endswith("-py3-none-any.whl")


def test_tests_see_what_is_installed_not_the_checkout():
    origin = json.loads(metadata.distribution("levit-deploy").read_text("direct_url.json"))
    editable = origin.get("dir_info", {}).get("editable", False)
    assert (Path(levit_deploy.__file__).parent == ROOT / "levit_deploy") == editable


def test_carries_its_licence(wheel):
    assert any(name.endswith("licenses/LICENSE") for name in wheel)


def test_commands_are_installed():
    installed = {point.name for point in metadata.distribution("levit-deploy").entry_points}
    assert installed == COMMANDS
    for name in COMMANDS:
        shown = subprocess.run(
            [Path(sys.executable).with_name(name), "--version"], capture_output=True, text=True, check=False
        )
        assert (shown.returncode, shown.stdout) == (0, f"{name} {metadata.version('levit-deploy')}\n")

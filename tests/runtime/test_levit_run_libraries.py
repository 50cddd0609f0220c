"""ONNX Runtime as levit-run finds it: which file, which releases, and what is said when it is none of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
from fixtures_bundle import BundleFactory
from pip_helpers import run_pip

from levit_deploy.bundle import open_bundle
from levit_engines.engine_choice import default_engine

# The oldest release that levit-deploy supports has wheels for Python 3.10 to 3.13.
OLDER = "1.22.1"

PRETENDER = """
struct OrtApiBase { const void* (*GetApi)(unsigned); const char* (*GetVersionString)(void); };
static const void* get_api(unsigned version) { (void)version; return 0; }
static const char* get_version(void) { return VERSION; }
static const struct OrtApiBase base = {get_api, get_version};
const struct OrtApiBase* OrtGetApiBase(void) { return &base; }
"""


def installed_library() -> Path:
    import onnxruntime

    (found,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")
    return found


def pretender(folder: Path, version: str) -> Path:
    """A library that says it is ONNX Runtime of this version, and has nothing to offer."""
    library = folder / "libpretender.so"
    command = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library), f'-DVERSION="{version}"']
    subprocess.run(command, input=PRETENDER, text=True, check=True)
    return library


def refusal(runtime: Any, *arguments: object, **options: Any) -> str:
    """The one line of an exit with code 4."""
    shown = runtime.run(*arguments, **options)
    assert (shown.returncode, shown.stdout) == (4, "")
    assert shown.stderr.startswith("levit-run: error: ")
    assert shown.stderr.count("\n") == 1
    return str(shown.stderr)


def test_a_library_that_is_named_but_missing_is_an_error(
    runtime: Any, small_bundle: Path, photographs: list[Path], tmp_path: Path
) -> None:
    missing = tmp_path / "libonnxruntime.so"
    said = refusal(runtime, small_bundle, photographs[0], "--onnxruntime", missing)
    assert f"what the option names ({missing}: no such file)" in said
    environment = os.environ | {"LEVIT_ONNXRUNTIME": str(missing)}
    said = refusal(runtime, small_bundle, photographs[0], "--provider", "cpu", env=environment)
    assert f"what LEVIT_ONNXRUNTIME names ({missing}: no such file)" in said
    # The option comes before the variable.
    found = runtime.run_in_onnxruntime(
        small_bundle, photographs[0], "--onnxruntime", installed_library(), env=environment
    )
    assert found.returncode == 0


def test_where_there_is_none_the_message_says_what_to_do(
    runtime: Any, small_bundle: Path, photographs: list[Path], tmp_path: Path
) -> None:
    for name in ("levit-run", "liblevit.so.1"):
        shutil.copy(runtime.folder / name, tmp_path)
    environment = os.environ | {"LD_LIBRARY_PATH": str(tmp_path)}
    lonely = type(runtime)(tmp_path)
    # The build's own path in the program is tried after LD_LIBRARY_PATH.
    said = refusal(lonely, small_bundle, photographs[0], "--provider", "cpu", env=environment)
    assert "ONNX Runtime is missing: install it (pip install onnxruntime has it) and name its libonnxruntime.so" in said
    # Beside the library is one of the places.
    (tmp_path / "libonnxruntime.so.1").symlink_to(installed_library())
    assert lonely.run_in_onnxruntime(small_bundle, photographs[0], env=environment).returncode == 0


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("1.10.0", "ONNX Runtime 1.10.0 is too old, 1.17 is not"),
        ("0.9", "is too old"),
        ("2.0.0", "is too old"),
        ("1.99999999999.0", "is too old"),
        ("1.31.0", "does not offer its own interface"),
    ],
)
def test_a_release_that_cannot_serve_is_told(
    version: str, said: str, runtime: Any, small_bundle: Path, photographs: list[Path], tmp_path: Path
) -> None:
    library = pretender(tmp_path, version)
    assert said in refusal(runtime, small_bundle, photographs[0], "--onnxruntime", library)


def test_another_library_is_told_apart(runtime: Any, small_bundle: Path, photographs: list[Path]) -> None:
    said = refusal(runtime, small_bundle, photographs[0], "--onnxruntime", runtime.library)
    assert "not a library of ONNX Runtime (it has no OrtGetApiBase)" in said
    said = refusal(runtime, small_bundle, photographs[0], "--onnxruntime", photographs[0])
    assert "cannot be loaded" in said


@pytest.mark.parametrize("provider", ["native", "tensorrt-plan"])
def test_a_library_is_not_named_in_vain(
    provider: str, runtime: Any, small_bundle: Path, photographs: list[Path]
) -> None:
    shown = runtime.run(small_bundle, photographs[0], "--onnxruntime", installed_library(), "--provider", provider)
    assert (shown.returncode, shown.stdout) == (2, "")
    assert shown.stderr == (
        f"levit-run: error: a library of ONNX Runtime is named ({installed_library()}), which the provider does not "
        "use: choose another or leave it out\n"
    )


def engine_of(shown: subprocess.CompletedProcess[str]) -> str:
    assert shown.returncode == 0, shown.stderr
    return str(json.loads(shown.stdout)["engine"])


def test_without_a_provider_the_fastest_runs_what_it_takes(
    runtime: Any, small_bundle: Path, make_bundle: BundleFactory, photographs: list[Path], images: list[Path]
) -> None:
    expected = default_engine(open_bundle(small_bundle))
    assert engine_of(runtime.run(small_bundle, photographs[0], "--json")) == expected
    # A library that is named is there to be used.
    named = runtime.run(small_bundle, photographs[0], "--json", "--onnxruntime", installed_library())
    assert engine_of(named) == "onnxruntime"
    # A graph of somebody else.
    foreign = runtime.run(make_bundle().path, images[0], "--json", "--no-self-test")
    assert engine_of(foreign) == "onnxruntime"


def test_without_onnxruntime_the_native_kernels_run_on_every_cpu(
    runtime: Any, small_bundle: Path, make_bundle: BundleFactory, images: list[Path], tmp_path: Path
) -> None:
    for name in ("levit-run", "liblevit.so.1"):
        shutil.copy(runtime.folder / name, tmp_path)
    environment = os.environ | {"LD_LIBRARY_PATH": str(tmp_path)}
    lonely = type(runtime)(tmp_path)
    assert engine_of(lonely.run(small_bundle, images[0], "--json", env=environment)) == "native"
    assert "ONNX Runtime is missing" in refusal(lonely, make_bundle().path, images[0], env=environment)


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_provider_that_is_missing_is_never_replaced(
    provider: str, runtime: Any, small_bundle: Path, photographs: list[Path]
) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has the provider")
    said = refusal(runtime, small_bundle, photographs[0], "--provider", provider)
    assert "this ONNX Runtime has no " in said
    assert "name the library of a build that has it" in said


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_tf32_by_the_environment_is_refused(
    provider: str, runtime: Any, small_bundle: Path, photographs: list[Path]
) -> None:
    environment = os.environ | {"NVIDIA_TF32_OVERRIDE": "1"}
    said = refusal(runtime, small_bundle, photographs[0], "--provider", provider, env=environment)
    assert "NVIDIA_TF32_OVERRIDE is '1'" in said
    assert "unset it, or set it to 0" in said
    # The CPU has no TF32.
    assert runtime.run_in_onnxruntime(small_bundle, photographs[0], env=environment).returncode == 0


def test_a_useless_library_beside_ours_does_not_end_the_search(
    runtime: Any, small_bundle: Path, photographs: list[Path], tmp_path: Path
) -> None:
    for name in ("levit-run", "liblevit.so.1"):
        shutil.copy(runtime.folder / name, tmp_path)
    lonely = type(runtime)(tmp_path)
    pretender(tmp_path, "1.10.0").rename(tmp_path / "libonnxruntime.so")
    (tmp_path / "libonnxruntime.so.0").write_text("no library")
    environment = os.environ | {"LD_LIBRARY_PATH": str(tmp_path)}
    said = refusal(lonely, small_bundle, photographs[0], "--provider", "cpu", env=environment)
    for part in ("ONNX Runtime is missing", "ONNX Runtime 1.10.0 is too old", "libonnxruntime.so.0: "):
        assert part in said
    (tmp_path / "libonnxruntime.so.1").symlink_to(installed_library())
    assert lonely.run_in_onnxruntime(small_bundle, photographs[0], env=environment).returncode == 0


@pytest.mark.slow
def test_an_older_release_gives_the_same_classes(
    runtime: Any, small_bundle: Path, photographs: list[Path], tmp_path: Path
) -> None:
    """One build serves both: its interface is negotiated down to what the library offers."""
    # The library is the same in the wheels for all Pythons.
    python = ("--python-version", "3.11", "--only-binary=:all:", "--no-deps")
    run_pip("download", "-q", *python, "--dest", tmp_path, f"onnxruntime=={OLDER}")
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path, [name for name in archive.namelist() if "/capi/libonnxruntime" in name])
    (library,) = (tmp_path / "onnxruntime" / "capi").glob("libonnxruntime.so.*")
    assert library.name.endswith(OLDER)
    documents = []
    for arguments in ([], ["--onnxruntime", str(library)]):
        shown = runtime.run_in_onnxruntime(small_bundle, *photographs, "--json", *arguments)
        assert shown.returncode == 0, shown.stderr
        # Nothing on stderr but what is said of the weights: asking for too new an interface would print there.
        assert shown.stderr.count("\n") == 1
        documents.append(json.loads(shown.stdout))
    classes = [[[guess["class"] for guess in image["top"]] for image in one["images"]] for one in documents]
    assert classes[0] == classes[1]

"""levit-doctor as a command: its output, its exit codes, what it needs, and that it leaves nothing behind."""

from __future__ import annotations

import getpass
import io
import json
import socket
import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest
from doctor_facts import WITH_GPU, make_facts, make_probe
from fixtures_bundle import BundleFactory, Runs, clean_environment, command_without, files_below
from native_kernels import needs_kernels
from pip_helpers import run_pip
from rich.console import Console

from levit_deploy.engine_entry import EngineEntry, Profile
from levit_engines.catalogue import CATALOGUE
from levit_engines.cli.doctor import main
from levit_engines.doctor.diagnosis import diagnose
from levit_engines.doctor.packages import found_modules
from levit_engines.doctor.probe import DEVICE, Outcome
from levit_engines.doctor.tables import print_diagnosis, remedies
from levit_engines.native.library import library_path

ROOT = Path(__file__).parents[2]
DOCTOR = "import sys; from levit_engines.cli.doctor import main; sys.exit(main())"
ENGINE_PACKAGES = ("torch", "onnxruntime", "onnxsim", "openvino", "tensorrt", "tensorrt_rtx", "cuda")
BASE_ONLY = command_without("levit_engines.cli.doctor", ENGINE_PACKAGES)
needs_openvino = pytest.mark.skipif("openvino" not in found_modules(), reason="needs OpenVINO")


def test_one_engine_as_json(run_python: Runs, tmp_path: Path) -> None:
    result = run_python(DOCTOR, "--engine", "onnxruntime", "--json")
    document = json.loads(result.stdout)
    (engine,) = document["engines"]
    assert (engine["engine"], engine["verdict"], engine["remedy"]) == ("onnxruntime", "works", "")
    assert document["packages"]["onnxruntime"] == metadata.version("onnxruntime")
    assert document["in_order"] is (result.returncode == 0)
    assert result.returncode == (4 if document["clashes"] else 0)
    assert "ONNX Runtime, CPU" in result.stderr
    assert files_below(tmp_path) == []


def test_the_document_names_neither_machine_nor_user_nor_folder(run_python: Runs, tmp_path: Path) -> None:
    text = run_python(DOCTOR, "--engine", "onnxruntime", "--engine", "tensorrt-rtx", "--json").stdout
    names = (socket.gethostname(), str(tmp_path), str(ROOT), sys.prefix, f"/{getpass.getuser()}/")
    assert [name for name in names if name in text] == []


def test_with_the_base_install_alone_every_remedy_is_named(run_python: Runs) -> None:
    result = run_python(BASE_ONLY, "--json")
    document = json.loads(result.stdout)
    assert [engine["engine"] for engine in document["engines"]] == list(CATALOGUE)
    others = [engine for engine in document["engines"] if engine["engine"] != "native"]
    assert all(engine["verdict"] == "does not work" and engine["remedy"] for engine in others)
    assert others[0]["remedy"] == 'pip install "levit-deploy[cpu]"'


@needs_kernels
def test_the_base_install_alone_has_an_engine_that_works(run_python: Runs) -> None:
    result = run_python(BASE_ONLY, "--engine", "native")
    assert result.returncode == 0
    assert "✓ native" in result.stdout


def test_no_engine_at_all_is_told(run_python: Runs) -> None:
    result = run_python(BASE_ONLY, "--engine", "onnxruntime", "--engine", "openvino")
    assert result.returncode == 4
    assert result.stderr.endswith("levit-doctor: no engine works\n")


@needs_openvino
def test_openvino_is_tried_without_its_telemetry(run_python: Runs, tmp_path: Path) -> None:
    result = run_python(DOCTOR, "--engine", "openvino")
    assert "✓ openvino" in result.stdout
    assert files_below(tmp_path) == []


@pytest.mark.slow
@pytest.mark.skipif("torch" not in found_modules(), reason="needs PyTorch")
def test_torch_compile_leaves_no_file(tmp_path: Path) -> None:
    for folder in ("home", "temporary"):
        (tmp_path / folder).mkdir()
    result = subprocess.run(
        [sys.executable, "-c", DOCTOR, "--engine", "torch-compile"],
        env=clean_environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert "torch-compile" in result.stdout
    assert files_below(tmp_path) == []


@pytest.mark.slow
def test_a_real_base_install(tmp_path: Path) -> None:
    python = tmp_path / "base" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "base")], capture_output=True, check=True)
    run_pip("install", "-q", "-c", ROOT / "constraints.txt", ROOT, python=python)
    result = subprocess.run([python.with_name("levit-doctor")], capture_output=True, text=True, check=False)
    assert "onnxruntime is not installed" in result.stdout
    assert ("✓ native" in result.stdout) == library_path().is_file()
    assert result.returncode == (0 if library_path().is_file() else 4)


def test_engines_of_a_bundle(make_bundle: BundleFactory, run_python: Runs) -> None:
    bundle = make_bundle()
    document = json.loads(run_python(DOCTOR, bundle.path, "--engine", "onnxruntime", "--json").stdout)
    assert document["bundle"] == {"name": "tiny", "engines": []}


def test_what_is_no_bundle_is_refused_before_anything_is_tried(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert "not a bundle" in err
    assert err.count("\n") == 1


def test_an_unknown_engine_is_a_mistake_in_usage() -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--engine", "abacus"])


def test_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "example:\n  levit-doctor " in capsys.readouterr().out


ENTRY = EngineEntry(
    files=("engines/abacus/beads",),
    model_sha256="0" * 64,
    libraries={},
    requirements={},
    profile=Profile(minimum=1, optimum=1, maximum=1),
    options={},
    network={},
    machine={},
    build_seconds=0.0,
    verified="",
)


@pytest.fixture
def crowded(make_bundle: BundleFactory):
    """A diagnosis with everything in it, and names that are long."""
    bundle = make_bundle()
    bundle = replace(bundle, manifest=replace(bundle.manifest, engines={"onnxruntime": ENTRY, "abacus": ENTRY}))
    facts = make_facts(
        {"nvidia-cublas-cu12": "12", "nvidia-cudnn-cu13": "13", "torch": "2.13.0+cpu"},
        builds=["onnxruntime", "onnxruntime-gpu"],
        nvidia=WITH_GPU,
        cpu="A CPU of a [bold]name[/] that goes on and on " * 4,
    )
    probes = [
        make_probe("onnxruntime"),
        make_probe("tensorrt-rtx", Outcome.FAILED, DEVICE, "CUDA says " + "something long " * 10, built=True),
    ]
    return diagnose(facts, probes, tuple(CATALOGUE), bundle=bundle, seconds=3.0)


def test_tables_fit_80_columns_and_remedies_can_be_copied(crowded) -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    print_diagnosis(crowded, console)
    lines = [line.rstrip() for line in console.export_text().splitlines()]
    copied = {f"      {remedy}" for remedy in remedies(crowded)}
    assert copied <= set(lines)
    assert max(len(line) for line in lines if line not in copied) <= 80
    text = "\n".join(lines)
    for engine in (*CATALOGUE, "abacus"):
        assert engine in text
    assert "builds only" in text
    assert "[bold]name[/]" in text


def test_every_remedy_is_told_once_with_all_that_need_it(crowded) -> None:
    found = remedies(crowded)
    assert found['pip install "levit-deploy[export]"'] == ["torch-eager", "torch-compile"]
    assert found["levit-build BUNDLE --engine onnxruntime --overwrite"] == ["onnxruntime"]
    clash = next(clash for clash in crowded.clashes if "onnxruntime" in clash.packages)
    assert clash.remedy in found


def test_the_document_holds_what_the_tables_show(crowded) -> None:
    document = json.loads(json.dumps(crowded.to_json(), allow_nan=False))
    assert document["in_order"] is False
    assert len(document["clashes"]) == 2
    assert [entry["opens"] for entry in document["bundle"]["engines"]] == [False, False]

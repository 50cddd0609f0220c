"""What levit-doctor finds out without trying an engine: drivers, packages; and messages that name no folder."""

import sys
from pathlib import Path

import pytest

from levit_engines.doctor import nvidia
from levit_engines.doctor.facts import DriverState, Gpu
from levit_engines.doctor.messages import one_line
from levit_engines.doctor.nvidia import describe_nvidia, has_gpu, parse_gpus
from levit_engines.doctor.packages import found_modules, installed_packages


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Put an `nvidia-smi` that runs this shell code first in the search path."""
    monkeypatch.setattr(nvidia, "PCI_DEVICES", tmp_path / "no devices")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    def make(code):
        path = tmp_path / "nvidia-smi"
        path.write_text(f"#!/bin/sh\n{code}\n")
        path.chmod(0o755)

    return make


def test_gpus_as_the_driver_lists_them(program):
    program("echo 'NVIDIA GeForce RTX 4090, 8.9, 24564 MiB, 580.65.06'; echo 'A, B, [N/A], [N/A], 580.65.06'")
    found = describe_nvidia()
    assert found.state is DriverState.PRESENT
    assert found.gpus == (
        Gpu(name="NVIDIA GeForce RTX 4090", compute_capability="8.9", memory_mib=24564, driver="580.65.06"),
        Gpu(name="A, B", compute_capability=None, memory_mib=None, driver="580.65.06"),
    )


def test_no_program_is_no_driver(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert describe_nvidia().state is DriverState.ABSENT


def test_a_driver_without_a_gpu(program):
    program("echo 'No devices were found'; exit 6")
    assert (describe_nvidia().state, describe_nvidia().gpus) == (DriverState.PRESENT, ())


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("echo 'NVIDIA-SMI has failed'; exit 9", "NVIDIA-SMI has failed"),
        ("exit 3", "nvidia-smi ended with code 3"),
        ("exec sleep 60", "nvidia-smi gave no answer within 0.5 s"),
    ],
)
def test_a_driver_that_fails(program, code, message):
    program(code)
    found = describe_nvidia(timeout_s=0.5)
    assert (found.state, found.message, found.gpus) == (DriverState.FAILED, message, ())


def test_lines_of_another_form_are_no_gpus():
    assert parse_gpus("\nwarning: something\n") == ()


@pytest.mark.parametrize(
    ("vendor", "kind", "expected"),
    [("0x10de", "0x030200", True), ("0x10de", "0x040300", False), ("0x8086", "0x030000", False)],
    ids=["GPU", "sound card", "other vendor"],
)
def test_a_gpu_on_the_bus_is_seen_without_a_driver(tmp_path, vendor, kind, expected):
    device = tmp_path / "0000:01:00.0"
    device.mkdir()
    (device / "vendor").write_text(f"{vendor}\n")
    (device / "class").write_text(f"{kind}\n")
    assert has_gpu(tmp_path) is expected
    assert not has_gpu(tmp_path / "absent")


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Pretend that a package is installed, with these files."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    def add(name, version, *files):
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (folder / "RECORD").write_text("".join(f"{file},,\n" for file in files))

    return add


def test_a_second_build_of_onnxruntime_is_known_by_the_files_it_writes(install):
    _, before = installed_packages()
    install("onnxruntime_made_up", "9.9", "onnxruntime/__init__.py")
    install("onnxruntime_extensions", "9.9", "onnxruntime_extensions/__init__.py")
    packages, builds = installed_packages()
    assert set(builds) - set(before) == {"onnxruntime-made-up"}
    assert packages["onnxruntime-extensions"] == packages["onnxruntime-made-up"] == "9.9"


def test_names_are_normalised_and_others_left_out(install):
    install("NVIDIA_cublas.cu12", "12.1")
    install("something", "1")
    packages, _ = installed_packages()
    assert packages["nvidia-cublas-cu12"] == "12.1"
    assert "something" not in packages
    assert "numpy" not in packages


def test_modules_that_python_finds():
    names = ("json", "no_such_module", "no_such_package.module", "os.path")
    assert found_modules(names) == {"json", "os.path"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ImportError: /a/b-1/lib.so.1: cannot\n open", "ImportError: lib.so.1: cannot open"),
        (f"in {sys.prefix}/lib/x.py", "in x.py"),
        (f"in {Path.home()}/with blank/x.py", "in with blank/x.py"),
        ("CUDA/cuDNN and/or 1/2", "CUDA/cuDNN and/or 1/2"),
        ("bell \x07", "'bell \\x07'"),
    ],
)
def test_messages_name_no_folder(text, expected):
    assert one_line(text) == expected

"""levit-classify as a process: it needs no torch, leaves no file behind, opens no socket and starts no process."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from fixtures_bundle import BundleFactory, Runs, clean_environment, command_without, files_below

TELEMETRY_SINCE = (1, 29)
CLASSIFY = "import sys; from levit_engines.cli.classify import main; sys.exit(main())"

WITHOUT_TORCH = command_without("levit_engines.cli.classify", ("torch", "torchvision", "timm", "levit_export", "onnx"))


def test_neither_torch_nor_the_exporter_is_needed(
    make_bundle: BundleFactory, images: list[Path], run_python: Runs
) -> None:
    result = run_python(WITHOUT_TORCH, make_bundle().path, images[0])
    assert (result.returncode, result.stderr) == (0, "")
    assert "name" in result.stdout


def test_without_onnxruntime_the_extra_is_named(
    make_bundle: BundleFactory, images: list[Path], run_python: Runs
) -> None:
    code = f"import sys; sys.modules['onnxruntime'] = None\n{CLASSIFY}"
    result = run_python(code, make_bundle().path, images[0])
    assert result.returncode == 4
    assert 'pip install "levit-deploy[cpu]"' in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_run_leaves_no_file_in_home_or_temporary_folder(
    make_bundle: BundleFactory, images: list[Path], run_python: Runs, tmp_path: Path
) -> None:
    result = run_python(CLASSIFY, make_bundle().path, images[0])
    assert (result.returncode, result.stderr) == (0, "")
    assert files_below(tmp_path) == []


def test_the_check_for_files_would_see_telemetry(
    make_bundle: BundleFactory, images: list[Path], run_python: Runs, tmp_path: Path
) -> None:
    result = run_python(CLASSIFY, make_bundle().path, images[0], ORT_DISABLE_TELEMETRY="0")
    assert result.returncode == 0
    if not files_below(tmp_path):
        release = tuple(int(part) for part in metadata.version("onnxruntime").split(".")[:2])
        assert release < TELEMETRY_SINCE, "the check for files no longer sees ONNX Runtime's telemetry"
        pytest.skip("ONNX Runtime before 1.29 has no telemetry, so the check has nothing to see")


# The kernel kills the process, whichever of its threads asks for a socket of whatever kind, or for another process,
# whose sockets would not be seen here. C libraries then start threads by a call whose flags a filter can read.
ALONE = """
import ctypes, struct, sys, time
architecture, socket, fork, vfork, clone = (int(sys.argv.pop(1)) for _ in range(5))
seconds = float(sys.argv.pop(1))
CLONE3, CLONE_THREAD = 435, 0x10000
LOAD, EQUAL, ANY_BIT, RETURN = 0x20, 0x15, 0x45, 0x06
KILL, ALLOW, NOT_IMPLEMENTED = 0x80000000, 0x7FFF0000, 0x00050026
instructions = [
    (LOAD, 0, 0, 4), (EQUAL, 0, 9, architecture),
    (LOAD, 0, 0, 0), (EQUAL, 6, 0, socket), (EQUAL, 5, 0, fork), (EQUAL, 4, 0, vfork), (EQUAL, 5, 0, CLONE3),
    (EQUAL, 0, 3, clone), (LOAD, 0, 0, 16), (ANY_BIT, 1, 0, CLONE_THREAD),
    (RETURN, 0, 0, KILL), (RETURN, 0, 0, ALLOW), (RETURN, 0, 0, NOT_IMPLEMENTED),
]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in instructions))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(instructions), ctypes.addressof(code)))
libc = ctypes.CDLL(None)
NO_NEW_PRIVILEGES, SECCOMP, FILTER = 38, 22, 2
if libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.prctl(SECCOMP, FILTER, program, 0, 0):
    sys.exit("no seccomp")
"""
CLASSIFY_AND_WAIT = """
from levit_engines.cli.classify import main
code = main()
time.sleep(seconds)
sys.exit(code)
"""
# The architecture, and its calls socket, fork, vfork and clone; ARM has no call for the two in the middle.
SYSTEM_CALLS = {"x86_64": (0xC000003E, 41, 57, 58, 56), "aarch64": (0xC00000B7, 198, 198, 198, 220)}
SIGSYS = 31


@pytest.mark.parametrize(
    "act",
    [
        "import socket; socket.socket()",
        "import os; os.fork()",
        "import threading; threading.Thread(target=lambda: __import__('socket').socket()).start(); time.sleep(9)",
        "import subprocess; subprocess.run(['true'])",
    ],
    ids=["socket", "fork", "thread", "program"],
)
def test_the_filter_kills_whoever_opens_a_socket_or_starts_a_process(act: str, tmp_path: Path) -> None:
    assert finished(alone(f"{ALONE}\n{act}", folder=tmp_path, seconds=0)) == -SIGSYS


@pytest.mark.slow
def test_a_run_opens_no_socket(make_bundle: BundleFactory, images: list[Path], tmp_path: Path) -> None:
    # With telemetry, ONNX Runtime 1.32 asks for its first socket after 9 s; the control shows that here too.
    path, code = make_bundle().path, ALONE + CLASSIFY_AND_WAIT
    silent = alone(code, path, images[0], folder=tmp_path, seconds=15)
    control = alone(code, path, images[0], folder=tmp_path, seconds=15, ORT_DISABLE_TELEMETRY="0")
    assert finished(silent) == 0
    if finished(control) == 0:
        pytest.skip("passed, but unproven: this ONNX Runtime opened no socket with its telemetry on")


def test_a_run_on_openvino_opens_no_socket_and_leaves_no_file(
    make_bundle: BundleFactory, images: list[Path], tmp_path: Path
) -> None:
    pytest.importorskip("openvino")
    arguments = (make_bundle().path, images[0], "--engine", "openvino")
    silent = alone(ALONE + CLASSIFY_AND_WAIT, *arguments, folder=tmp_path, seconds=2)
    assert finished(silent) == 0
    assert files_below(tmp_path) == []
    # By itself, OpenVINO starts a process that sends; no file is there by then that would keep it from that.
    control = alone(f"{ALONE}import openvino\n{CLASSIFY_AND_WAIT}", *arguments, folder=tmp_path, seconds=2)
    if finished(control) == 0:
        pytest.skip("passed, but unproven: this OpenVINO starts no process by itself")


def alone(code: str, *arguments: object, folder: Path, seconds: float, **environment: str) -> subprocess.Popen[str]:
    """Start Python code, which begins with `ALONE`; `seconds` to wait at its end."""
    if sys.platform != "linux" or platform.machine() not in SYSTEM_CALLS:
        pytest.skip("needs Linux on x86_64 or aarch64, for a seccomp filter")
    (folder / "home").mkdir(exist_ok=True)
    (folder / "temporary").mkdir(exist_ok=True)
    numbers = (*SYSTEM_CALLS[platform.machine()], seconds)
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, (*numbers, *arguments))],
        env=clean_environment(folder) | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> int:
    """The exit status; skips the test where the kernel has no seccomp filters."""
    _, err = process.communicate(timeout=120)
    if "no seccomp" in err:
        pytest.skip("needs a kernel that lets a process filter its system calls")
    return process.returncode

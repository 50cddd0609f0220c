"""The contract of our command lines: exit codes, one line on stderr, signals, JSON."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fixtures_bundle import Runs, clean_environment

from levit_deploy import errors
from levit_deploy.commandline import make_parser, positive_int, print_json, run_command
from levit_deploy.onnxruntime_session import TELEMETRY_VARIABLE

EXIT_CODES = {
    errors.ParityError: 1,
    errors.ExportError: 1,
    errors.RunnerError: 1,
    errors.ConfigError: 2,
    errors.BundleError: 3,
    errors.ImageError: 3,
    errors.EnvironmentIncompleteError: 4,
}


@pytest.mark.parametrize(("kind", "code"), EXIT_CODES.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_our_errors_are_one_line_and_their_exit_code(
    kind: type[errors.LevitError], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> int:
        raise kind("file.txt: is wrong")

    assert run_command("levit-x", command) == code
    assert capsys.readouterr() == ("", "levit-x: error: file.txt: is wrong\n")


def test_a_message_with_line_breaks_and_terminal_codes_stays_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def command() -> int:
        raise errors.InputError("a\nb\x1b[2J\udcff")

    assert run_command("levit-x", command) == 3
    message = capsys.readouterr().err
    assert (message.count("\n"), message.count("\x1b")) == (1, 0)


@pytest.mark.parametrize("code", [0, 1])
def test_the_result_of_the_command_is_the_exit_code(code: int) -> None:
    assert run_command("levit-x", lambda: code) == code


def test_errors_of_the_system_name_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> int:
        (tmp_path / "absent").read_bytes()
        return 0

    assert run_command("levit-x", command) == 4
    assert capsys.readouterr().err == f"levit-x: error: {tmp_path / 'absent'}: No such file or directory\n"


def test_our_bugs_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run_command("levit-x", lambda: 1 // 0)


def test_keyboard_interrupt_is_130_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> int:
        raise KeyboardInterrupt

    assert run_command("levit-x", command) == 130
    assert capsys.readouterr().err == "levit-x: interrupted\n"


def test_telemetry_is_off_before_the_command_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TELEMETRY_VARIABLE, raising=False)
    assert run_command("levit-x", lambda: int(os.environ[TELEMETRY_VARIABLE])) == 1


def test_the_signal_handler_is_there_only_meanwhile() -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert run_command("levit-x", lambda: int(signal.getsignal(signal.SIGTERM) is not before)) == 1
    assert signal.getsignal(signal.SIGTERM) is before


def test_another_thread_may_run_a_command() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(run_command, "levit-x", lambda: 7).result() == 7


# A shell that runs this suite in the background lets it, and its children, ignore SIGINT.
SIGNALLED = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from levit_deploy.commandline import run_command
def command():
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("cleaning", flush=True)
        time.sleep(0.5)
        print("cleaned", flush=True)
    return 0
sys.exit(run_command("levit-x", command))
"""


@pytest.mark.parametrize(
    ("signals", "code", "message"),
    [
        ([signal.SIGTERM], 143, ""),
        ([signal.SIGTERM, signal.SIGTERM], 143, ""),
        ([signal.SIGINT], 130, "levit-x: interrupted\n"),
    ],
    ids=["terminated", "terminated twice", "interrupted"],
)
def test_signals_let_the_command_clean_up(
    signals: list[signal.Signals], code: int, message: str, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SIGNALLED],
        env=clean_environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for number, line in zip(signals, ("ready\n", "cleaning\n"), strict=False):
            assert process.stdout.readline() == line
            process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out.splitlines()[-1:], err) == (code, ["cleaned"], message)


@pytest.mark.parametrize("command", ["print('x' * 10**6)", "print('few')", "sys.exit(0)"])
def test_a_closed_pipe_is_quiet(command: str, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    code = "import sys; from levit_deploy.commandline import run_command; print('text')\n"
    code += f"sys.exit(run_command('levit-x', lambda: {command} or 0))"
    process = subprocess.run(
        [sys.executable, "-c", code],
        env=clean_environment(tmp_path),
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(writer)
    assert (process.returncode, process.stderr) == (141, b"")


def test_json_is_one_ascii_document_without_nan(capsys: pytest.CaptureFixture[str]) -> None:
    document = {"name": "Käfer\udcff", "values": [1, 0.5]}
    print_json(document)
    text = capsys.readouterr().out
    assert text.isascii()
    assert json.loads(text) == document
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="not JSON compliant"):
            print_json({"value": value})
    assert capsys.readouterr().out == ""


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("levit-x", "Does x.", "levit-x 100% --count 3")
    parser.add_argument("--count", type=positive_int)
    return parser


@pytest.mark.parametrize("arguments", [["--nonsense"], ["--cou", "3"], ["--count", "0"], ["--count", "x"]])
def test_misuse_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run_command("levit-x", lambda: bool(_parser().parse_args(arguments)))
    assert caught.value.code == 2
    assert "levit-x: error:" in capsys.readouterr().err


def test_help_shows_the_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        _parser().parse_args(["--help"])
    assert "example:\n  levit-x 100% --count 3\n" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        _parser().parse_args(["--version"])
    assert capsys.readouterr().out.startswith("levit-x ")


def test_the_module_imports_neither_rich_nor_numpy(run_python: Runs) -> None:
    code = "import sys, levit_deploy.commandline; print({'rich', 'numpy', 'PIL'} & set(sys.modules))"
    assert run_python(code).stdout == "set()\n"

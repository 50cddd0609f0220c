"""What all our command lines share: exit codes, signals, messages of one line, JSON on stdout.

Exit codes: 0 done and verified, 1 a check failed, 2 usage, 3 bad input, 4 the environment lacks something;
130, 141 and 143 when a signal (interrupt, closed pipe, termination) ended the command.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import math
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from levit_deploy.errors import EnvironmentIncompleteError, LevitError
from levit_deploy.onnxruntime_session import disable_telemetry

DISTRIBUTION = "levit-deploy"
INTERRUPTED, PIPE_CLOSED, TERMINATED = 130, 141, 143


def run_command(program: str, command: Callable[[], int]) -> int:
    """Run `command` and return the exit code; a LevitError becomes one line on stderr and its code.

    SIGTERM unwinds the stack like an exception, so that temporary files go; SystemExit (from argparse, or
    from SIGTERM) passes through. Other exceptions are our bugs and keep their traceback.
    """
    disable_telemetry()
    _mend_streams()
    try:
        with _sigterm_unwinds(), warnings.catch_warnings():
            # Pillow warns of damaged metadata that we do not read; what matters arrives as an error.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            try:
                return _run_reporting_errors(program, command)
            finally:
                sys.stdout.flush()
    except KeyboardInterrupt:
        print_line(f"{program}: interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        _forget_stdout()
        return PIPE_CLOSED


def _mend_streams() -> None:
    """Give closed streams somewhere to write to, and let no character that a terminal lacks end the command."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 (open until exit)
        elif isinstance(stream, io.TextIOWrapper) and (stream.encoding or "").lower() not in ("utf-8", "utf8"):
            stream.reconfigure(errors="backslashreplace")


def print_line(text: str) -> None:
    """One line on stderr, whatever `text` holds."""
    from levit_deploy.decoding import printable

    print(printable(text), file=sys.stderr, flush=True)


def print_json(document: object) -> None:
    """`document` on stdout, as one JSON text; ValueError on NaN and infinity, which JSON does not have."""
    # ASCII, so that neither the terminal's encoding nor an odd file name can make it fail.
    print(json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False))


def make_parser(program: str, description: str, example: str) -> argparse.ArgumentParser:
    """A parser with `--version` and an example below the help; takes no abbreviated options."""
    parser = argparse.ArgumentParser(
        prog=program,
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_VersionAction, nargs=0, help="print the version and exit")
    return parser


def positive_int(text: str) -> int:
    """An argparse `type`: a whole number of at least 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return value


def share(text: str) -> float:
    """An argparse `type`: a share from 0 to below 1, as in 1% or 0.01."""
    number = text.strip().removesuffix("%")
    try:
        value = float(number) / (100 if text.strip().endswith("%") else 1)
    except ValueError:
        value = math.nan
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share, as in 1% or 0.01")
    return value


def comma_separated(text: str) -> tuple[str, ...]:
    """An argparse `type`: the names in "a,b", empty ones left out."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def each_once(lists: Iterable[Sequence[str]] | None) -> tuple[str, ...]:
    """What a repeated option of `comma_separated` gave, no name twice; nothing where it was not given."""
    return tuple(dict.fromkeys(name for names in lists or () for name in names))


def require_packages(extras: Mapping[str, str], *, purpose: str) -> None:
    """Raise EnvironmentIncompleteError, naming the extras, unless every package that `extras` maps is installed."""
    missing = [package for package in extras if not _is_installed(package)]
    if missing:
        wanted = ",".join(sorted({extras[package] for package in missing}))
        raise EnvironmentIncompleteError(
            f'{", ".join(missing)} not installed, which {purpose} needs: pip install "levit-deploy[{wanted}]"'
        )


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # what it would be a part of is missing
        return False


class _VersionAction(argparse.Action):
    """Like argparse's own, but reads the version only when it is asked for: that import takes 30 ms."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from importlib import metadata

        try:
            version = metadata.version(DISTRIBUTION)
        except metadata.PackageNotFoundError:
            version = "unknown (not installed)"
        print(f"{parser.prog} {version}")
        parser.exit()


def _run_reporting_errors(program: str, command: Callable[[], int]) -> int:
    try:
        return command()
    except LevitError as error:
        print_line(f"{program}: error: {error}")
        return error.exit_code
    except BrokenPipeError:
        raise
    except OSError as error:
        # No space, no permission, …: what we do not foresee file by file, the user can mend all the same.
        place = f"{error.filename}: " if error.filename is not None else ""
        print_line(f"{program}: error: {place}{error.strerror or error}")
        return EnvironmentIncompleteError.exit_code


@contextmanager
def _sigterm_unwinds() -> Iterator[None]:
    """While this lasts, SIGTERM raises SystemExit(143) once; only the main thread may ask for that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(_signum: int, _frame: FrameType | None) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not interrupt the cleaning up
        raise SystemExit(TERMINATED)

    previous = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _forget_stdout() -> None:
    """Point stdout to nowhere, so that the interpreter's last flush does not fail as well."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)

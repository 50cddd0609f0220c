"""Worker processes: started, asked, frozen and thawed, and none left behind."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from levit_benchmarks.bench.protocol import TIME, encode, error_of, order_to_json
from levit_benchmarks.bench.subject import Order
from levit_benchmarks.machine import BenchmarkError

COMMAND = (sys.executable, "-m", "levit_benchmarks.bench.worker")
REPLY_TIMEOUT_S = 600.0
OPEN_TIMEOUT_S = 1800.0
"""Longer than an answer may take: torch.compile builds its programs for minutes."""
_END_TIMEOUT_S = 10.0
_POLL_S = 0.001
_CHUNK_BYTES = 1 << 20
_MOST_WORDS = 500


class Worker:
    """One child process with one candidate; a context manager that ends the process, frozen or not."""

    def __init__(self, order: Order, job: str = TIME) -> None:
        """Start the process and hand it its order; the first `reply` says what came of it."""
        self.name = order.name
        self._buffer = b""
        # In a folder of its own, so that it imports no stray file of the user's.
        self._folder = tempfile.TemporaryDirectory(prefix="levit-bench-", ignore_cleanup_errors=True)
        with self._stderr.open("wb") as errors:
            spawned_ns = time.perf_counter_ns()
            self._process = subprocess.Popen(
                COMMAND,
                cwd=self._folder.name,
                env=child_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=0,
                start_new_session=True,  # one signal reaches all that it starts, and Ctrl-C reaches only us
            )
        self._send({"job": job, "order": order_to_json(order), "spawned_ns": spawned_ns})

    @property
    def pid(self) -> int:
        """Of the process, which is the leader of a group of its own."""
        return self._process.pid

    def reply(self, timeout_s: float = REPLY_TIMEOUT_S) -> dict[str, Any]:
        """The next reply. Raises what the worker raised, and BenchmarkError when it died or took too long."""
        deadline_s = time.monotonic() + timeout_s
        stdout = self._process.stdout
        assert stdout is not None
        while b"\n" not in self._buffer:
            if not select.select([stdout], [], [], max(0.0, deadline_s - time.monotonic()))[0]:
                raise BenchmarkError(f"{self.name}: no answer within {timeout_s:g} s{self._last_words()}")
            chunk = os.read(stdout.fileno(), _CHUNK_BYTES)
            if not chunk:
                raise self._death()
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise error_of(reply, self.name)
        return reply

    def ask(self, request: str, **arguments: Any) -> None:
        """Send a request that `reply` will answer."""
        self._send({"request": request, **arguments})

    def freeze(self) -> None:
        """Stop every thread of the process, and return when it has stopped."""
        self._signal(signal.SIGSTOP)
        deadline_s = time.monotonic() + REPLY_TIMEOUT_S
        # Not a blocking wait: a process that dies meanwhile never stops.
        while not self._is_stopped():
            if time.monotonic() > deadline_s:
                raise BenchmarkError(f"{self.name}: could not be stopped")
            time.sleep(_POLL_S)

    def _is_stopped(self) -> bool:
        try:
            return os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOHANG) is not None
        except ChildProcessError:  # what has ended will never stop
            raise self._death() from None

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def cpu_s(self) -> float:
        """User and system time that the process has taken so far."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
        except OSError:
            return 0.0
        user, system = fields.split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """End the process and all that it started, and wait for it."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._folder.cleanup()

    def __enter__(self) -> Worker:  # noqa: PYI034 (Python 3.10 has no typing.Self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _stderr(self) -> Path:
        return Path(self._folder.name, "stderr.txt")

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # the missing reply tells, with its last words
            self._process.stdin.write(encode(message))

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            raise self._death() from None

    def _death(self) -> BenchmarkError:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_TIMEOUT_S)
        self._process.kill()  # nothing, where it has ended
        code = self._process.wait()
        meaning = f"ended with status {code}"
        if code < 0:
            meaning = f"crashed (signal {-code}, {signal.strsignal(-code)})"
            meaning += ", often a lack of memory" if -code == signal.SIGKILL else ""
        return BenchmarkError(f"{self.name}: the process {meaning}{self._last_words()}")

    def _last_words(self) -> str:
        lines = self._stderr.read_text(encoding="utf-8", errors="replace").split("\n")
        words = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f": {words[:_MOST_WORDS]}" if words else ""


def child_environment() -> dict[str, str]:
    """Ours, for a child in another folder: entries of PYTHONPATH stay what they are.

    PyTorch compiles without processes of its own, which would outlive a worker that is killed while it is frozen.
    """
    path = os.environ.get("PYTHONPATH", "")
    absolute = os.pathsep.join(str(Path(entry).absolute()) for entry in path.split(os.pathsep) if entry)
    return {**os.environ, "TORCHINDUCTOR_COMPILE_THREADS": "1", **({"PYTHONPATH": absolute} if absolute else {})}

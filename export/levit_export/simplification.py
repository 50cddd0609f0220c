"""onnxsim in a process of its own, so that a crash in it costs its result and nothing else.

The simplified graph replaces the traced one only if it keeps every promise and is smaller: fewer nodes, or as many
nodes and fewer bytes of constants. Size decides, not a timing, so that the same input always gives the same file.
That it is equal is for the caller to prove (`pipeline`).
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import onnx

from levit_deploy.errors import EnvironmentIncompleteError, ExportError
from levit_deploy.onnxruntime_session import disable_telemetry
from levit_export.passes.promises import require_promises
from levit_export.tracing import finish_serialized

TIMEOUT_S = 600.0
PACKAGE_MISSING = 64
# The child gets file names as arguments, never code.
CHILD = """
import sys
try:
    import onnx, onnxsim
except ImportError:
    sys.exit(64)
model, passed = onnxsim.simplify(onnx.load(sys.argv[1]))
if not passed:
    sys.exit("onnxsim's own check of its result failed")
onnx.save(model, sys.argv[2])
"""


@dataclass(frozen=True, slots=True)
class Simplification:
    """What came of it: the graph to go on with, whether that is onnxsim's, and why it is or is not."""

    model: onnx.ModelProto
    kept: bool
    reason: str


def simplify(
    traced: onnx.ModelProto, *, static: bool, command: tuple[str, ...] = (sys.executable, "-c", CHILD)
) -> Simplification:
    """Run onnxsim on `traced`; its result if that is smaller and keeps the promises, else `traced` with the reason.

    Raises EnvironmentIncompleteError when onnxsim is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="levit-export-") as folder:
        source, target = Path(folder, "traced.onnx"), Path(folder, "simplified.onnx")
        onnx.save(traced, source)
        failure = _run((*command, str(source), str(target)), folder)
        if failure is None and not target.is_file():
            failure = "onnxsim wrote no graph"
        if failure is not None:
            return Simplification(traced, kept=False, reason=failure)
        simplified = finish_serialized(onnx.load(target))
    try:
        require_promises(simplified, static=static)
    except ExportError as error:
        return Simplification(traced, kept=False, reason=f"onnxsim's result was not kept: {error}")
    return _smaller(traced, simplified)


def _run(command: tuple[str, ...], folder: str) -> str | None:
    """Run the child in `folder`, so that it imports no stray file of the user's; why it failed, or None."""
    disable_telemetry()  # of the ONNX Runtime that onnxsim may load: the child inherits the environment
    try:
        child = subprocess.run(command, cwd=folder, capture_output=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"onnxsim did not finish within {TIMEOUT_S:.0f} s"
    if child.returncode == PACKAGE_MISSING:
        raise EnvironmentIncompleteError(
            'onnxsim is not installed: pip install "levit-deploy[export]", or use --no-simplify'
        )
    if child.returncode < 0:
        return f"onnxsim crashed (signal {-child.returncode}, {signal.strsignal(-child.returncode)})"
    if child.returncode > 0:
        lines = child.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        return f"onnxsim failed: {lines[-1]}"
    return None


def _smaller(traced: onnx.ModelProto, simplified: onnx.ModelProto) -> Simplification:
    before, after = _size(traced), _size(simplified)
    if after >= before:
        return Simplification(traced, kept=False, reason="onnxsim found nothing to remove")
    return Simplification(
        simplified,
        kept=True,
        reason=f"nodes {before[0]} -> {after[0]}, constants {before[1]} -> {after[1]} bytes",
    )


def _size(model: onnx.ModelProto) -> tuple[int, int]:
    """Nodes, and bytes of the constants; names and shape records are no part of what runs."""
    return len(model.graph.node), sum(constant.ByteSize() for constant in model.graph.initializer)

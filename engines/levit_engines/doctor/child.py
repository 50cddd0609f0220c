"""The process that tries one engine: it may crash or hang, and the last line it wrote says where."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from levit_deploy.onnxruntime_session import disable_telemetry
from levit_engines.catalogue import CATALOGUE
from levit_engines.doctor import probe_native, probe_onnxruntime, probe_openvino, probe_tensorrt, probe_torch
from levit_engines.doctor.probe import COMPARE, IMPORT, START
from levit_engines.doctor.sample import MismatchError, require_expected

Attempt = Callable[[str, Callable[[str], None]], object]

ATTEMPTS: Mapping[str, Attempt] = {
    "levit_engines.native": probe_native.attempt,
    "levit_engines.onnxruntime": probe_onnxruntime.attempt,
    "levit_engines.openvino": probe_openvino.attempt,
    "levit_engines.tensorrt": probe_tensorrt.attempt,
    "levit_engines.torch": probe_torch.attempt,
}
"""How the engines of a module are tried: called with the engine's name and with what notes the stage."""


def main() -> None:
    """Try what the arguments name, and write how far it came to the file that they name."""
    target, record = sys.argv[1], Path(sys.argv[2])
    disable_telemetry()

    def note(**entry: object) -> None:
        with record.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    note(stage=START)
    try:
        try_target(target, lambda stage: note(stage=stage))
    except BaseException as error:
        text = str(error) if isinstance(error, MismatchError) else f"{type(error).__name__}: {error}"
        note(failed=text)
    else:
        note(passed=True)


def try_target(target: str, at: Callable[[str], None]) -> None:
    """Run the engine of that name, or import the module of that name; raises whatever goes wrong."""
    if target not in CATALOGUE:
        at(IMPORT)
        importlib.import_module(target)
        return
    numbers = ATTEMPTS[CATALOGUE[target].module](target, at)
    at(COMPARE)
    require_expected(numbers)

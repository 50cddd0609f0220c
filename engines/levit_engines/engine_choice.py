"""Which engine a bundle runs on where none is asked for."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from levit_engines.catalogue import CATALOGUE

if TYPE_CHECKING:
    from levit_deploy.bundle import Bundle

NATIVE, GENERAL = "native", "onnxruntime"
FASTEST_ON = ("amx", "avx512-vnni", "avx512")
"""The instruction sets with which the native kernels were measured to be the fastest: docs/design/native-kernels.md."""


def default_engine(bundle: Bundle) -> str:
    """The fastest engine for `bundle` on this CPU: the native kernels where they take it, else ONNX Runtime.

    Where ONNX Runtime is not installed the native kernels run on every instruction set.
    """
    supported = _instruction_sets() if _native_takes(bundle) else ()
    if not supported:
        return GENERAL
    is_fastest = supported[0] in FASTEST_ON
    return NATIVE if is_fastest or find_spec(GENERAL) is None else GENERAL


def _native_takes(bundle: Bundle) -> bool:
    manifest = bundle.manifest
    # Graphs of levit-export name their form; only of those the constants are known.
    is_ours = "form" in manifest.graph
    is_for_cpus = manifest.precision != "int8" or manifest.target == "cpu"
    return is_ours and is_for_cpus and manifest.precision in CATALOGUE[NATIVE].precisions


def _instruction_sets() -> tuple[str, ...]:
    """Those that this CPU and the library have, the best first; none where the library was not compiled."""
    from levit_deploy.errors import EnvironmentIncompleteError
    from levit_engines.native.library import load_library, supported_instruction_sets

    try:
        return supported_instruction_sets(load_library())
    except EnvironmentIncompleteError:
        return ()

"""From ONNX to a network that OpenVINO has compiled for this CPU, found to be what the manifest says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from levit_deploy.errors import BundleError
from levit_deploy.manifest import Manifest, TensorSpecification
from levit_deploy.messages import short_message
from levit_deploy.threads import available_threads

DEVICE = "CPU"
# float32 is asked for by name: on CPUs with bfloat16 units OpenVINO would take those for a float32 graph.
OPTIONS = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
_DYNAMIC = "dynamic"

Description = list[tuple[str, str, tuple[int | str, ...]]]


def configuration(threads: int | None) -> dict[str, Any]:
    """OpenVINO's properties for a network that answers one call at a time, as fast as `threads` can."""
    return {**OPTIONS, "INFERENCE_NUM_THREADS": threads or available_threads()}


def compile_graph(openvino: Any, graph: bytes, threads: int | None, *, name: str) -> Any:
    """`graph`, an ONNX file, compiled; its dynamic axes stay dynamic. Raises BundleError when OpenVINO refuses it."""
    core = openvino.Core()
    try:
        return core.compile_model(core.read_model(graph), DEVICE, configuration(threads))
    except Exception as error:  # OpenVINO raises RuntimeError, but also what its Python layer meets
        raise BundleError(f"{name}: OpenVINO refuses it ({short_message(error)}); export it again") from error


def require_equal(compiled: Any, manifest: Manifest, *, name: str) -> None:
    """Raise BundleError when the compiled network does not take and give exactly what the manifest says."""
    for role, ports, specifications in (
        ("inputs", compiled.inputs, (manifest.input,)),
        ("outputs", compiled.outputs, manifest.outputs),
    ):
        found, expected = _described(ports, {one.name for one in specifications}), _expected(specifications)
        if found != expected:
            raise BundleError(
                f"{name}: {role} are {_text(found)}, manifest.json says {_text(expected)}; export it again"
            )


def _described(ports: Iterable[Any], wanted: set[str]) -> Description:
    # A port also has the names of the values that a cast of no effect turned into it.
    return [
        (
            min(port.get_names(), key=lambda name: (name not in wanted, name), default=""),
            port.get_element_type().to_dtype().name,
            tuple(side.get_length() if side.is_static else _DYNAMIC for side in port.get_partial_shape()),
        )
        for port in ports
    ]


def _expected(specifications: Iterable[TensorSpecification]) -> Description:
    # OpenVINO knows no names of axes.
    return [
        (wanted.name, wanted.dtype, tuple(side if isinstance(side, int) else _DYNAMIC for side in wanted.shape))
        for wanted in specifications
    ]


def _text(values: Description) -> str:
    return ", ".join(f"{name} {kind} {list(shape)}" for name, kind, shape in values) or "none"

"""Opening a bundle's graph in ONNX Runtime: which file, which provider, and that it is what the manifest says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from levit_deploy.bundle import MODEL, Bundle
from levit_deploy.errors import BundleError
from levit_deploy.manifest import TensorSpecification
from levit_deploy.onnxruntime_plugin import RTX_PROVIDER
from levit_deploy.onnxruntime_session import (
    CPU_PROVIDER,
    CUDA_PROVIDER,
    GPU_PROVIDERS,
    TENSORRT_PROVIDER,
    SessionSettings,
    open_session,
)
from levit_deploy.threads import available_threads
from levit_engines.bundle_runner import require_specification
from levit_engines.catalogue import CATALOGUE
from levit_engines.cpu_build import misfit
from levit_engines.onnxruntime.optimized import libraries, open_optimized
from levit_engines.onnxruntime.runner import BoundOnnxRuntimeRunner, OnnxRuntimeRunner

if TYPE_CHECKING:
    import onnxruntime

_ELEMENT_TYPES = {
    "float32": "tensor(float)",
    "float16": "tensor(float16)",
    "uint8": "tensor(uint8)",
    "int64": "tensor(int64)",
    "int32": "tensor(int32)",
}
# What the names of their options begin with.
_PREFIXES = {TENSORRT_PROVIDER: "trt", RTX_PROVIDER: "nv"}


def open_runner(bundle: Bundle, engine: str, threads: int | None = None) -> OnnxRuntimeRunner:
    """The graph of `bundle` on the provider that `engine` stands for. Raises what `levit_engines.open_runner` does."""
    require_specification(bundle)
    provider = CATALOGUE[engine].provider or CPU_PROVIDER
    settings = SessionSettings(threads=threads, provider=provider, provider_options=_provider_options(bundle, provider))
    if provider == CPU_PROVIDER:
        session, graph, notes = _cpu_session(bundle, engine, settings)
    else:
        session, graph, notes = open_session(bundle.read(MODEL), settings, name=str(bundle.path / MODEL)), MODEL, ()
    _require_equal(session, bundle.manifest.input, bundle.manifest.outputs, name=str(bundle.path / graph))
    import onnxruntime

    provenance = {
        "engine_version": onnxruntime.__version__,
        "provider": provider,
        "threads": str(threads or available_threads()),
        "graph": graph,
    }
    # What comes as a package of its own has no memory of its GPU that a build for CPUs could bind: it copies by itself.
    kind = BoundOnnxRuntimeRunner if provider in GPU_PROVIDERS else OnnxRuntimeRunner
    return kind(bundle, session, engine=engine, settings=settings, provenance=provenance, notes=notes)


def _cpu_session(
    bundle: Bundle, engine: str, settings: SessionSettings
) -> tuple[onnxruntime.InferenceSession, str, tuple[str, ...]]:
    """A session on the optimised graph where the bundle has one that fits, else on the graph itself, and why."""
    entry = bundle.manifest.engines.get(engine)
    note: tuple[str, ...] = ()
    if entry is not None:
        reason = misfit(bundle, entry, libraries())
        if reason is None:
            return open_optimized(bundle, entry, settings.threads), entry.files[0], ()
        note = (
            f"the optimised graph of the bundle is not used, {reason}: ONNX Runtime optimises {MODEL} again; "
            f"levit-build {bundle.path} --engine {engine} --overwrite makes one that fits",
        )
    name = str(bundle.path / MODEL)
    return open_session(bundle.read(MODEL), settings, name=name), MODEL, note


def _provider_options(bundle: Bundle, provider: str) -> dict[str, str]:
    if provider == CUDA_PROVIDER:
        return {"use_tf32": "0"}  # TF32 keeps 10 bits of the mantissa: not what a fp32 bundle promises
    if provider not in _PREFIXES:
        return {}
    sizes, sides = bundle.manifest.batch_sizes, "x".join(map(str, bundle.manifest.input.shape[1:]))
    shapes = {"min": sizes.minimum, "opt": sizes.minimum, "max": sizes.maximum}
    return {
        f"{_PREFIXES[provider]}_profile_{name}_shapes": f"{bundle.manifest.input.name}:{size}x{sides}"
        for name, size in shapes.items()
    }


def _require_equal(
    session: onnxruntime.InferenceSession,
    expected_input: TensorSpecification,
    expected_outputs: tuple[TensorSpecification, ...],
    *,
    name: str,
) -> None:
    """Raise BundleError when the graph does not take and give exactly what the manifest says."""
    for role, found, expected in (
        ("inputs", _described(session.get_inputs()), [_as_found(expected_input)]),
        ("outputs", _described(session.get_outputs()), [_as_found(output) for output in expected_outputs]),
    ):
        if found != expected:
            raise BundleError(
                f"{name}: {role} are {_text(found)}, manifest.json says {_text(expected)}; export it again"
            )


def _described(values: Iterable[Any]) -> list[tuple[str, str, tuple[Any, ...]]]:
    return [(value.name, value.type, tuple(value.shape)) for value in values]


def _as_found(specification: TensorSpecification) -> tuple[str, str, tuple[Any, ...]]:
    element_type = _ELEMENT_TYPES.get(specification.dtype, specification.dtype)
    return specification.name, element_type, specification.shape


def _text(values: list[tuple[str, str, tuple[Any, ...]]]) -> str:
    return ", ".join(f"{name} {kind} {list(shape)}" for name, kind, shape in values) or "none"

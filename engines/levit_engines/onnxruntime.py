"""The bundle's graph in ONNX Runtime, on the CPU."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from levit_deploy.bundle import MODEL, Bundle
from levit_deploy.errors import BundleError, RunnerError
from levit_deploy.manifest import BatchSizes, TensorSpecification
from levit_deploy.onnxruntime_session import CPU_PROVIDER, available_threads, open_session, short_message
from levit_deploy.runner import LOGITS, check_images, check_specification

if TYPE_CHECKING:
    import onnxruntime
    from typing_extensions import Self

_ELEMENT_TYPES = {
    "float32": "tensor(float)",
    "float16": "tensor(float16)",
    "uint8": "tensor(uint8)",
    "int64": "tensor(int64)",
    "int32": "tensor(int32)",
}


class OnnxRuntimeRunner:
    """A Runner on one ONNX Runtime session.

    Safe to call from several threads: they share the session, and with it its threads. Results are arrays of
    their own. A graph of static batch takes exactly that many images; nothing is padded here.
    """

    def __init__(self, bundle: Bundle, *, threads: int | None = None) -> None:
        """Load the model, whose hash is checked first. Raises what `levit_engines.open_runner` does."""
        self._manifest = bundle.manifest
        path = bundle.path / MODEL
        try:
            check_specification(self._manifest)
        except BundleError as error:
            raise BundleError(f"{bundle.path}: {error}") from error
        session = open_session(bundle.read(MODEL), threads=threads, name=str(path))
        _require_equal(session, self._manifest.input, self._manifest.outputs, name=str(path))
        self._session: onnxruntime.InferenceSession | None = session
        self._provenance = MappingProxyType(_provenance(bundle, threads or available_threads()))

    @property
    def input(self) -> TensorSpecification:
        """The images it takes."""
        return self._manifest.input

    @property
    def outputs(self) -> tuple[TensorSpecification, ...]:
        """Everything the graph computes."""
        return self._manifest.outputs

    @property
    def batch_sizes(self) -> BatchSizes:
        """How many images one call may hold."""
        return self._manifest.batch_sizes

    @property
    def device(self) -> str:
        """Always "cpu"."""
        return "cpu"

    @property
    def precision(self) -> str:
        """The precision of the graph."""
        return self._manifest.precision

    @property
    def provenance(self) -> Mapping[str, str]:
        """Engine, version, execution provider, threads, bundle and hash of the model."""
        return self._provenance

    def infer(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Logits (B, K) of the images; see `Runner.infer`."""
        session = self._session  # kept alive until the call ends, should another thread close the runner
        if session is None:
            raise RunnerError(f"the runner of {self._provenance['bundle']} is closed: open another")
        feed = {self.input.name: check_images(images, self.input, self.batch_sizes)}
        try:
            (logits,) = session.run([LOGITS], feed)
        except Exception as error:  # ONNX Runtime's exceptions have no base class of their own
            raise RunnerError(f"ONNX Runtime failed: {short_message(error)}") from error
        expected = (len(images), self._manifest.config.num_classes)
        if not isinstance(logits, np.ndarray) or logits.shape != expected:
            raise RunnerError(f"logits are {np.shape(logits)}, the bundle promises {expected}")
        return logits

    def close(self) -> None:
        """Free the session; a second call does nothing."""
        self._session = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _provenance(bundle: Bundle, threads: int) -> dict[str, str]:
    import onnxruntime

    return {
        "engine": "onnxruntime",
        "engine_version": onnxruntime.__version__,
        "provider": CPU_PROVIDER,
        "threads": str(threads),
        "bundle": str(bundle.path),
        "model_sha256": bundle.manifest.members[MODEL].sha256,
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

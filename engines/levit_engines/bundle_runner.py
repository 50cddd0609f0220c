"""What the runners of all engines have in common: they are opened on a bundle, and keep its promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from levit_deploy.bundle import MODEL, Bundle
from levit_deploy.errors import BundleError, RunnerError
from levit_deploy.manifest import BatchSizes, TensorSpecification
from levit_deploy.runner import check_images, check_specification

if TYPE_CHECKING:
    from typing_extensions import Self


class BundleRunner(ABC):
    """A `levit_deploy.runner.Runner` on a bundle; engines add how a checked batch becomes logits.

    A graph of static batch takes exactly that many images; nothing is padded here.
    """

    _refuses_not_finite = False
    """Whether `_run` raises InputError for images that hold NaN or infinity."""

    def __init__(self, bundle: Bundle, *, engine: str, provenance: Mapping[str, str], notes: tuple[str, ...]) -> None:
        self._bundle = bundle
        self._closed = False
        self._notes = notes
        self._provenance = MappingProxyType(
            {
                "engine": engine,
                **provenance,
                "bundle": str(bundle.path),
                "model_sha256": bundle.manifest.members[MODEL].sha256,
            }
        )

    @property
    def input(self) -> TensorSpecification:
        """The images it takes."""
        return self._bundle.manifest.input

    @property
    def outputs(self) -> tuple[TensorSpecification, ...]:
        """Everything the graph computes."""
        return self._bundle.manifest.outputs

    @property
    def batch_sizes(self) -> BatchSizes:
        """How many images one call may hold."""
        return self._bundle.manifest.batch_sizes

    @property
    def device(self) -> str:
        """Where it runs."""
        return "cpu"

    @property
    def precision(self) -> str:
        """The precision of the graph."""
        return self._bundle.manifest.precision

    @property
    def provenance(self) -> Mapping[str, str]:
        """What a measurement has to state beside its numbers."""
        return self._provenance

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should be told of how it was opened."""
        return self._notes

    @property
    def gpu_ns(self) -> int | None:
        """What the GPU took for the last call by its own clock (CUDA events), copies included, in nanoseconds.

        None on a CPU, before the first call, and on engines that keep their stream to themselves.
        """
        return None

    def infer(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Logits (B, K) of the images; see `Runner.infer`."""
        self._require_open()
        logits = self._run(check_images(images, self.input, self.batch_sizes, finite=not self._refuses_not_finite))
        expected = (len(images), self._bundle.manifest.config.num_classes)
        if not isinstance(logits, np.ndarray) or logits.shape != expected or logits.dtype != np.float32:
            found = f"{getattr(logits, 'dtype', type(logits).__name__)} {np.shape(logits)}"
            raise RunnerError(f"logits are {found}, the bundle promises float32 {expected}")
        return logits

    def close(self) -> None:
        """Free the engine; a second call does nothing."""
        if not self._closed:
            self._closed = True
            self._free()

    def read_values(
        self,
        graph: bytes,  # noqa: ARG002 (engines that can be looked into use it)
        names: Sequence[str],  # noqa: ARG002
        images: NDArray[Any],  # noqa: ARG002
    ) -> Mapping[str, NDArray[Any]]:
        """The outputs `names` of `graph`, which is the bundle's with more outputs, on this engine.

        Raises RunnerError when the engine, as here, lets no value inside be read, or fails.
        """
        raise RunnerError(f"{self._provenance['engine']} lets no value inside the network be read")

    @abstractmethod
    def _run(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Logits of a checked batch, in an array of their own; RunnerError when the engine fails."""

    @abstractmethod
    def _free(self) -> None:
        """Let go of the engine; a call that runs in another thread must still end well."""

    def _require_open(self) -> None:
        if self._closed:
            raise RunnerError(f"the runner of {self._bundle.path} is closed: open another")

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"a runner ({self._provenance['engine']}) cannot be pickled: it holds an engine; "
            "send the bundle's path to the other process and open a runner there"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def require_specification(bundle: Bundle) -> None:
    """Raise BundleError, naming the bundle, when its manifest contradicts itself; every engine calls this first."""
    try:
        check_specification(bundle.manifest)
    except BundleError as error:
        raise BundleError(f"{bundle.path}: {error}") from error

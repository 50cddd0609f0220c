"""What every engine offers, and the checks on images that all of them share.

Letters: B images of a batch, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from levit_deploy.errors import BundleError, InputError
from levit_deploy.manifest import BatchSizes, Manifest, TensorSpecification

if TYPE_CHECKING:
    from typing_extensions import Self

LOGITS = "logits"


class Runner(Protocol):
    """A network that is loaded and ready; a context manager that frees the engine when it is left.

    Thread safety: `infer` may be called from several threads at once, unless the class says that it may not.
    Closing while another thread infers is allowed: that call ends as if nothing had happened.

    Buffers: `infer` neither keeps nor changes the images it is given, and returns an array of its own that
    belongs to the caller and is never written again, unless the class says otherwise.
    """

    @property
    def input(self) -> TensorSpecification:
        """The images it takes."""

    @property
    def outputs(self) -> tuple[TensorSpecification, ...]:
        """Everything the graph computes; one of them is named "logits"."""

    @property
    def batch_sizes(self) -> BatchSizes:
        """How many images one call may hold."""

    @property
    def device(self) -> str:
        """Where it runs, as in "cpu" or "cuda:0"."""

    @property
    def precision(self) -> str:
        """The precision of the graph: "fp32", "fp16", "bf16" or "int8"."""

    @property
    def provenance(self) -> Mapping[str, str]:
        """What a measurement has to state beside its numbers: engine, its version, the model's hash."""

    def infer(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Logits (B, K) of the images, which are what `input` says, contiguous or not.

        Raises:
            InputError: the images are of another type, shape or count, or not finite.
            RunnerError: the runner is closed, or the engine failed.
        """

    def close(self) -> None:
        """Free the engine; a second call does nothing."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


def check_images(
    images: NDArray[Any], specification: TensorSpecification, batch_sizes: BatchSizes, *, finite: bool = True
) -> NDArray[Any]:
    """`images` if an engine with this input may have them, copied only if they were not contiguous.

    NaN and infinity are refused, because some kernels turn them into plausible logits. Looking for them takes
    0.03 ms for one image of 224 pixels, below 1 % of the fastest network's time on a CPU core; an engine that finds
    them itself needs no `finite` images.

    Raises:
        InputError: naming what was got and what is wanted.
    """
    wanted = f"{specification.dtype} {_shape_text(specification, batch_sizes)}"
    if not isinstance(images, np.ndarray):
        raise InputError(f"images are {type(images).__name__}, wanted is a NumPy array, {wanted}")
    if images.dtype != np.dtype(specification.dtype) or images.shape[1:] != specification.shape[1:]:
        raise InputError(f"images are {images.dtype} {images.shape}, wanted is {wanted}")
    if not (images.ndim and batch_sizes.minimum <= images.shape[0] <= batch_sizes.maximum):
        raise InputError(f"images are a batch of {images.shape[0]}, wanted is {wanted}")
    contiguous = np.ascontiguousarray(images)
    if finite:
        _require_finite(contiguous)
    return contiguous


def check_specification(manifest: Manifest) -> None:
    """Raise BundleError when the manifest contradicts itself on what its graph takes and gives.

    Every runner calls this once, so that no engine ever meets a batch or an image that it was not made for.
    """
    side, batch = manifest.config.image_size, _batch_dimension(manifest.input)
    layouts = {("float32", "NCHW"): (3, side, side), ("uint8", "NHWC"): (side, side, 3)}
    kind = (manifest.input.dtype, manifest.input.layout)
    if layouts.get(kind) != manifest.input.shape[1:]:
        choices = " or ".join(f"{dtype} {layout} {shape}" for (dtype, layout), shape in layouts.items())
        raise BundleError(f"manifest.json: input is {' '.join(kind)} {manifest.input.shape[1:]}, known is {choices}")
    sizes = manifest.batch_sizes
    if isinstance(batch, int) and (sizes.minimum, sizes.maximum) != (batch, batch):
        raise BundleError(f"manifest.json: batch sizes {sizes.minimum} to {sizes.maximum}, but the graph takes {batch}")
    logits = [output for output in manifest.outputs if output.name == LOGITS]
    expected = ("float32", (batch, manifest.config.num_classes))
    if [(output.dtype, output.shape) for output in logits] != [expected]:
        raise BundleError(f"manifest.json: exactly one output must be {LOGITS!r}, float32 {expected[1]}")


def _batch_dimension(specification: TensorSpecification) -> int | str | None:
    return specification.shape[0] if specification.shape else None


def _shape_text(specification: TensorSpecification, batch_sizes: BatchSizes) -> str:
    low, high = batch_sizes.minimum, batch_sizes.maximum
    batch = f"{low} to {high}" if batch_sizes.dynamic else str(low)
    return f"({', '.join([batch, *map(str, specification.shape[1:])])})"


def _require_finite(images: NDArray[Any]) -> None:
    if images.dtype.kind == "f" and not np.isfinite(images).all():
        raise InputError("images hold NaN or infinity: look at the preprocessing")

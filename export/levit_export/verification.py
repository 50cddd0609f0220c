"""The gate before anything is published: every stage of the export against the eager model in float64.

Each stage runs the golden images at every batch size that is vouched for. A batch takes the images in turn, so every
image is seen at every size, alone and beside others.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from levit_deploy.bundle import Golden
from levit_deploy.errors import BundleError, ExportError, ParityError
from levit_deploy.golden import golden_images
from levit_deploy.manifest import BatchSizes
from levit_deploy.model import Levit
from levit_deploy.onnxruntime_session import open_session, short_message
from levit_deploy.parity import Rung, compare_logits
from levit_deploy.preprocessing import Preprocessing, normalize
from levit_deploy.rounding import logit_bounds
from levit_export.tracing import INPUT_NAME, LOGITS_NAME, TOP_K_NAMES

ALL_SIZES_UP_TO = 16
Infer = Callable[[NDArray[Any]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """The golden images, their float64 eager logits, and how far rounding may move each image's logits."""

    golden: Golden
    bounds: NDArray[np.float64]
    contract: Preprocessing

    def inputs(self, *, pixels: bool) -> NDArray[Any]:
        """The golden images as a graph takes them: uint8 pixels (n, S, S, 3), or normalised (n, 3, S, S)."""
        return self.golden.images if pixels else normalize(self.golden.images, self.contract)


def truth_of(model: Levit, contract: Preprocessing) -> Truth:
    """Run the golden images through `model` in float64 and derive the bounds of the float32 rungs.

    Raises ParityError when the network gives no finite logits, or none that rounding leaves meaningful.
    """
    names, images = golden_images(contract)
    reference = copy.deepcopy(model).double().eval()
    inputs = torch.from_numpy(normalize(images, contract)).double()
    with torch.no_grad():
        logits = reference(inputs)
    golden = Golden(names=names, images=images, logits=logits.numpy())
    offsets = torch.tensor(contract.mean).double() / torch.tensor(contract.std).double()
    bounds = logit_bounds(reference, inputs, logits, subtracted=offsets.reshape(3, 1, 1))
    if not (np.isfinite(golden.logits).all() and np.isfinite(bounds).all()):
        raise ParityError("the network gives logits that are not finite in float64: its weights are unusable")
    return Truth(golden=golden, bounds=bounds, contract=contract)


def sizes_to_verify(minimum: int, maximum: int) -> BatchSizes:
    """The batch sizes of a range that are vouched for: each of them will be run.

    All of them up to a range of 16; of a longer one both ends, the powers of two and their neighbours.
    """
    sizes = set(range(minimum, maximum + 1))
    if len(sizes) > ALL_SIZES_UP_TO:
        powers = [2**exponent for exponent in range(maximum.bit_length() + 1)]
        chosen = {minimum, maximum, *(power + step for power in powers for step in (-1, 0, 1))}
        sizes &= chosen
    return BatchSizes(minimum=minimum, maximum=maximum, verified=tuple(sorted(sizes)))


def measure(
    stage: str, infer: Infer, truth: Truth, batch_sizes: BatchSizes, *, pixels: bool = False
) -> tuple[Rung, ...]:
    """`stage` against the truth: one rung for each batch size."""
    inputs = truth.inputs(pixels=pixels)
    return tuple(_measure_at(stage, infer, inputs, truth, size) for size in batch_sizes.verified)


def _measure_at(stage: str, infer: Infer, inputs: NDArray[Any], truth: Truth, batch_size: int) -> Rung:
    count = len(inputs)
    batches = -(-count // batch_size)
    order = np.arange(batches * batch_size) % count
    logits = np.concatenate([infer(inputs[rows]) for rows in np.split(order, batches)])
    return Rung(
        stage=stage,
        batch_size=batch_size,
        comparison=compare_logits(truth.golden.logits[order], logits),
        bounds=tuple(float(bound) for bound in truth.bounds[order]),
    )


def infer_eagerly(model: torch.nn.Module) -> Infer:
    """A PyTorch network in float32 as a function of arrays."""

    def infer(images: NDArray[Any]) -> NDArray[np.float32]:
        with torch.no_grad():
            logits: NDArray[np.float32] = model(torch.from_numpy(images)).numpy()
        return logits

    return infer


def infer_with_onnxruntime(model: onnx.ModelProto) -> Infer:
    """An ONNX graph on ONNX Runtime's CPU provider, with the optimisations that users get."""
    try:
        session = open_session(model.SerializeToString(), name="the exported graph")
    except BundleError as error:
        raise ExportError(str(error)) from error
    outputs = [output.name for output in session.get_outputs()]

    def infer(images: NDArray[Any]) -> NDArray[np.float32]:
        try:
            values = session.run(outputs, {INPUT_NAME: images})
        except Exception as error:  # ONNX Runtime's exceptions have no base class of their own
            raise ExportError(f"ONNX Runtime cannot run the exported graph: {short_message(error)}") from error
        results = dict(zip(outputs, values, strict=True))
        logits: NDArray[np.float32] = results[LOGITS_NAME]
        if TOP_K_NAMES[0] in results:
            _require_best_classes(logits, *(results[name] for name in TOP_K_NAMES))
        return logits

    return infer


def _require_best_classes(
    logits: NDArray[np.float32], probabilities: NDArray[np.float32], classes: NDArray[np.int64]
) -> None:
    """Raise ExportError unless the graph's best classes are those of its own logits."""
    best = -np.sort(-logits, axis=1)[:, : classes.shape[1]]
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    expected = -np.sort(-exponentials / exponentials.sum(1, keepdims=True), axis=1)[:, : classes.shape[1]]
    named_right = np.array_equal(np.take_along_axis(logits, classes, axis=1), best)
    if not (named_right and np.allclose(probabilities, expected, rtol=1e-4, atol=1e-7)):
        raise ExportError("the graph's best classes are not those of its logits")


def worst_error(rungs: Sequence[Rung]) -> float:
    """The largest |logit error| of several rungs; NaN when any is."""
    return float(np.max([rung.comparison.max_abs_error for rung in rungs]))

"""What range of values integers have to represent, from the values that flow for real images."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, create_calibrator

from levit_export.naming import INPUT_NAME
from levit_export.request import Calibration

METHODS = {
    Calibration.MIN_MAX: CalibrationMethod.MinMax,
    Calibration.PERCENTILE: CalibrationMethod.Percentile,
    Calibration.ENTROPY: CalibrationMethod.Entropy,
    Calibration.SQUARED_ERROR: CalibrationMethod.Percentile,  # for its histograms
}
# The histogram methods keep every value of the images that they are given at once.
IMAGES_AT_ONCE = 8
OBSERVED, OBSERVER = " observed", "Identity"
STEPS = 255
SHARES = np.linspace(0.05, 1, 39)
"""Of the largest value, how much may be kept at all."""

Ranges = dict[str, tuple[np.float32, np.float32]]


def value_ranges(
    model: onnx.ModelProto,
    names: Sequence[str],
    batches: Sequence[NDArray[Any]],
    method: Calibration,
    *,
    symmetric: bool,
) -> Ranges:
    """The lowest and highest value to represent of each value of `model`, while it sees `batches`.

    `symmetric` ranges are those of integers whose 0 is 0: as far down as up.
    """
    with tempfile.TemporaryDirectory(prefix="levit-export-") as folder:
        path = Path(folder, "model.onnx")
        onnx.save(_observed(model, names), path)
        calibrator = create_calibrator(
            path,
            [OBSERVER],
            augmented_model_path=str(Path(folder, "augmented.onnx")),
            calibrate_method=METHODS[method],
            extra_options={"symmetric": symmetric and method is not Calibration.SQUARED_ERROR},
        )
        at_once = max(1, IMAGES_AT_ONCE // len(batches[0]))
        for start in range(0, len(batches), at_once):
            calibrator.collect_data(_Batches(batches[start : start + at_once]))
        if method is Calibration.SQUARED_ERROR:
            histograms = calibrator.collector.get_histogram_dict()
            found = {name: least_squared_error(*histograms[name + OBSERVED][:2], symmetric=symmetric) for name in names}
        else:
            data = calibrator.compute_data()
            found = {name: data[name + OBSERVED].range_value for name in names}
    return {name: (np.float32(low.item()), np.float32(high.item())) for name, (low, high) in found.items()}


def least_squared_error(
    counts: NDArray[np.int64], edges: NDArray[np.floating[Any]], *, symmetric: bool
) -> tuple[np.float64, np.float64]:
    """The range in which 8-bit integers are the least wrong, of values with this histogram.

    What lies in it is rounded, which costs a twelfth of a squared step each; what lies beyond is clipped to its end.
    """
    centres = (edges[:-1] + edges[1:]) / 2
    seen = np.flatnonzero(counts)
    lowest, highest = min(0.0, float(edges[seen[0]])), max(0.0, float(edges[seen[-1] + 1]))
    highs = SHARES * (max(-lowest, highest) if symmetric else highest)
    pairs = [(-high, high) for high in highs] if symmetric else [(s * lowest, high) for s in SHARES for high in highs]

    def squared_error(low: np.float64, high: np.float64) -> float:
        beyond = centres - np.clip(centres, low, high)
        inside = counts[beyond == 0].sum()
        return float(inside * ((high - low) / STEPS) ** 2 / 12 + (counts * beyond**2).sum())

    return min(pairs, key=lambda pair: squared_error(*pair))


def _observed(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """`model` with a float32 copy of each value: there are no histograms of half precision."""
    observed = onnx.ModelProto()
    observed.CopyFrom(model)
    graph = observed.graph
    shapes: Mapping[str, onnx.ValueInfoProto] = {value.name: value for value in (*graph.input, *graph.value_info)}
    for name in names:
        single = f"{name} float32"
        graph.node.append(helper.make_node("Cast", [name], [single], to=TensorProto.FLOAT))
        graph.node.append(helper.make_node(OBSERVER, [single], [name + OBSERVED]))
        for copy in (single, name + OBSERVED):
            value = graph.value_info.add()
            value.CopyFrom(shapes[name])
            value.name, value.type.tensor_type.elem_type = copy, TensorProto.FLOAT
    return observed


class _Batches(CalibrationDataReader):  # type: ignore[misc]  # of a package without types
    """Batches of images, one after the other."""

    def __init__(self, batches: Sequence[NDArray[Any]]) -> None:
        self._batches: Iterator[NDArray[Any]] = iter(batches)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT_NAME: batch}

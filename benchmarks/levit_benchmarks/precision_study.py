"""What a precision costs a network that was trained: bundles of the same weights beside the float32 one.

The images are those of `levit_benchmarks.trained_digits` that the networks never saw. Every bundle runs on ONNX
Runtime; of each: the ratio of signal to error of its logits against the float32 bundle's, how many best classes
flipped, with the exact interval, and the accuracy. int8 comes with every method of calibration, and once more for
CPUs with the budget that keeps layers in float.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from levit_benchmarks.machine import environment
from levit_benchmarks.progress import ProgressDisplay
from levit_benchmarks.trained_digits import HELD_OUT, TRAIN, Digits, read_digits
from levit_deploy.architectures import VARIANTS
from levit_deploy.bundle import Bundle
from levit_deploy.commandline import make_parser, print_line, run_command
from levit_deploy.errors import InputError
from levit_deploy.parity import compare_logits
from levit_deploy.preprocessing import normalize
from levit_deploy.result_files import require_destination, write_result
from levit_engines import open_runner
from levit_engines.evaluation.statistics import share_interval
from levit_export.pipeline import export
from levit_export.request import Calibration, ExportRequest, Precision, Target

PROGRAM = "python -m levit_benchmarks.precision_study"
KIND, SCHEMA_VERSION = "levit precision study", 1
BUDGET: Mapping[str, Any] = MappingProxyType({"min_sqnr_db": 40.0, "max_flips": 0.005})
PACKAGES = ("levit-deploy", "torch", "timm", "numpy", "onnx", "onnxruntime", "scikit-learn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """One bundle against the float32 one of the same weights, on `images` images that neither was made from.

    `kept_layers` of all `layers` that could be quantised stayed in float; both are None where none was quantised.
    """

    arch: str
    precision: str
    target: str
    calibration_method: str
    budget: bool
    kept_layers: int | None
    layers: int | None
    images: int
    sqnr_db: float
    flips: int
    flips_interval: tuple[float, float]
    top1: float
    float32_top1: float


def candidates(folder: Path, arch: str) -> Iterator[ExportRequest]:
    """The export of every bundle; the float32 one is the first."""
    given: dict[str, Any] = {
        "checkpoint": folder / f"levit-{arch}.safetensors",
        "labels": folder / "labels.txt",
        "batch": (1, 32),
        "simplify": False,
    }
    for precision in (Precision.FP32, Precision.FP16):
        yield ExportRequest(**given, precision=precision)
    given |= {"precision": Precision.INT8, "calibration": folder / TRAIN}
    for target in Target:
        for method in Calibration:
            yield ExportRequest(**given, target=target, calibration_method=method)
    yield ExportRequest(**given, **BUDGET)


def logits_of(bundle: Bundle, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Of all images, on ONNX Runtime."""
    images = normalize(pixels, bundle.manifest.preprocessing)
    with open_runner(bundle, engine="onnxruntime") as runner:
        size = runner.batch_sizes.maximum
        return np.concatenate([runner.infer(images[start : start + size]) for start in range(0, len(images), size)])


def costs(folder: Path, arch: str, digits: Digits, display: ProgressDisplay) -> Iterator[Cost]:
    """Every precision of one variant."""
    reference: NDArray[np.float32] | None = None
    with tempfile.TemporaryDirectory() as scratch:
        for number, request in enumerate(candidates(folder, arch)):
            method = request.calibration_method.value if request.precision is Precision.INT8 else ""
            bundle = export(replace(request, output=Path(scratch, str(number))))
            logits = logits_of(bundle, digits.pixels)
            display.advance(1, f"LeViT-{arch} {request.precision.value} {request.target.value} {method}")
            if reference is None:
                reference = logits
                continue
            comparison = compare_logits(reference, logits)
            quantization = bundle.manifest.graph.get("quantization")
            kept = len(quantization["kept_layers"]) if quantization else None
            yield Cost(
                arch=arch,
                precision=request.precision.value,
                target=request.target.value,
                calibration_method=method,
                budget=request.min_sqnr_db is not None,
                kept_layers=kept,
                layers=kept + quantization["layers"] if quantization else None,
                images=len(logits),
                sqnr_db=comparison.sqnr_db,
                flips=len(comparison.flips),
                flips_interval=share_interval(len(comparison.flips), len(logits)),
                top1=float((logits.argmax(1) == digits.classes).mean()),
                float32_top1=float((reference.argmax(1) == digits.classes).mean()),
            )


def _study(options: argparse.Namespace) -> int:
    folder: Path = options.digits
    require_destination(options.output, overwrite=options.overwrite)
    archs = [arch for arch in VARIANTS if (folder / f"levit-{arch}.safetensors").is_file()]
    if not archs:
        raise InputError(f"{folder}: no levit-*.safetensors: make them with python -m levit_benchmarks.trained_digits")
    digits = read_digits(folder / HELD_OUT)
    found: list[Cost] = []
    with ProgressDisplay(len(archs) * (3 + len(Target) * len(Calibration))) as display:
        for arch in archs:
            found += costs(folder, arch, digits, display)
    for cost in found:
        low, high = cost.flips_interval
        kept = f", {cost.kept_layers} of {cost.layers} layers in float" if cost.budget else ""
        print_line(
            f"LeViT-{cost.arch} {cost.precision} {cost.target} {cost.calibration_method}{kept}: {cost.sqnr_db:.1f} dB, "
            f"{cost.flips} of {cost.images} flipped ({low:.2%} to {high:.2%}), top-1 {cost.top1:.2%}, "
            f"float32 {cost.float32_top1:.2%}"
        )
    document = {"kind": KIND, "schema_version": SCHEMA_VERSION} | environment(PACKAGES)
    content = json.dumps(document | {"costs": [asdict(cost) for cost in found]}, indent=1, allow_nan=False) + "\n"
    write_result(options.output, content.encode("ascii"), overwrite=options.overwrite)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the module; returns its exit code."""
    parser = make_parser(PROGRAM, __doc__.splitlines()[0], f"{PROGRAM} digits -o precision-study.json")
    parser.add_argument("digits", type=Path, metavar="DIR", help="what levit_benchmarks.trained_digits wrote")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    return run_command(PROGRAM, lambda: _study(parser.parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main())

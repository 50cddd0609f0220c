"""levit-export: from a checkpoint to a verified bundle. Parse, ask for one export, show what came of it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from levit_deploy.architectures import VARIANTS
from levit_deploy.commandline import (
    make_parser,
    positive_int,
    print_json,
    print_line,
    require_packages,
    run_command,
    share,
)
from levit_deploy.errors import ConfigError

if TYPE_CHECKING:
    from levit_export.request import ExportRequest

PROGRAM = "levit-export"
DEFAULT_DYNAMIC_BATCH = (1, 8)
EXTRA_OF_PACKAGE = {
    "torch": "export",
    "onnxscript": "export",
    "onnx_ir": "export",
    "onnxsim": "export",
    "onnxruntime": "cpu",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the command; returns its exit code."""
    return run_command(PROGRAM, lambda: _export(_parser().parse_args(arguments)))


def _export(options: argparse.Namespace) -> int:
    needed = dict(EXTRA_OF_PACKAGE)
    if options.no_simplify:
        del needed["onnxsim"]
    require_packages(needed, purpose="an export")
    # Only now: these import PyTorch, which --help and mistyped options should not wait for.
    from levit_deploy.progress import StageDisplay
    from levit_export.pipeline import run_export
    from levit_export.rendering import descriptions, document, print_report

    request = _request(options)
    with StageDisplay(descriptions(request)) as display:
        report = run_export(
            request, display, on_progress=lambda what, done, total: display.advanced("quantize", what, done, total)
        )
    for note in report.notes:
        print_line(f"note: {note}")
    if options.json:
        print_json(document(report))
    else:
        print_report(report)
    return 0


def _request(options: argparse.Namespace) -> ExportRequest:
    from levit_export.request import Calibration, ExportRequest, Precision, Target

    if options.batch is not None and options.dynamic_batch is not None:
        raise ConfigError("--batch and --dynamic-batch exclude each other: give one of them")
    if options.seed is not None and (options.checkpoint is not None or options.pretrained):
        raise ConfigError("--seed is for untrained weights: leave it out with --checkpoint and --pretrained")
    return ExportRequest(
        arch=options.arch,
        checkpoint=options.checkpoint,
        pretrained=options.pretrained,
        target=Target(options.target),
        precision=Precision(options.precision),
        calibration=options.calibration,
        calibration_method=Calibration(options.calibration_method),
        min_sqnr_db=options.min_sqnr_db,
        max_flips=options.max_flips,
        batch=options.dynamic_batch or (options.batch or 1,) * 2,
        image_size=options.image_size,
        opset=options.opset,
        uint8_input=options.uint8_input,
        top_k=options.top_k,
        simplify=not options.no_simplify,
        seed=options.seed or 0,
        labels=options.labels,
        apply_exif_orientation=options.apply_exif_orientation,
        output=options.output,
        overwrite=options.overwrite,
    )


def _batch_range(text: str) -> tuple[int, int]:
    minimum, separator, maximum = text.partition(":")
    if not (separator and minimum.isdecimal() and maximum.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not MIN:MAX, as in 1:8")
    if not 1 <= int(minimum) < int(maximum):
        raise argparse.ArgumentTypeError(f"{text!r}: expected 1 <= MIN < MAX; one size is --batch N")
    return int(minimum), int(maximum)


def _architecture(text: str) -> str:
    if text.upper() not in VARIANTS:
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(VARIANTS)}")
    return text.upper()


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        PROGRAM,
        "Export a LeViT to ONNX, prove it against the float64 model, and write a self-describing bundle.",
        "levit-export --checkpoint LeViT-256.pth --dynamic-batch 1:8 -o levit-256/",
    )
    _add_weights(parser.add_argument_group("weights"))
    _add_graph(parser.add_argument_group("graph"))
    output = parser.add_argument_group("output")
    output.add_argument("-o", "--output", type=Path, metavar="DIR", help="default: ./levit-ARCH-PRECISION")
    output.add_argument("--overwrite", action="store_true", help="replace an existing bundle")
    output.add_argument("--json", action="store_true", help="print one JSON document instead of a table")
    return parser


def _add_weights(group: Any) -> None:
    group.add_argument(
        "--arch",
        type=_architecture,
        metavar="{" + ",".join(VARIANTS) + "}",
        help="variant; alone: untrained weights. With --checkpoint it only has to agree",
    )
    group.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="weights from the official code, timm, transformers or mmpretrain; all else is inferred from them",
    )
    group.add_argument("--pretrained", action="store_true", help="download the official weights of --arch")
    group.add_argument("--seed", type=int, metavar="N", help="of untrained weights (default: 0)")
    group.add_argument("--labels", type=Path, metavar="FILE", help="class names, one a line")
    group.add_argument(
        "--image-size",
        type=positive_int,
        metavar="PX",
        help="side of the input, a multiple of 16 (default: the checkpoint's, or 224)",
    )
    group.add_argument(
        "--apply-exif-orientation",
        action="store_true",
        help="turn photographs upright first (default: ignored, as in all published evaluations)",
    )


def _add_graph(group: Any) -> None:
    group.add_argument(
        "--target",
        choices=("cpu", "gpu"),
        default="cpu",
        help="hardware the graph form is for (default: cpu)",
    )
    precisions = group.add_mutually_exclusive_group()
    precisions.add_argument(
        "--precision", choices=("fp32", "fp16", "bf16", "int8"), default="fp32", help="(default: fp32)"
    )
    for short in ("fp16", "bf16", "int8"):
        precisions.add_argument(
            f"--{short}", dest="precision", action="store_const", const=short, help=f"short for --precision {short}"
        )
    group.add_argument(
        "--calibration", type=Path, metavar="DIR", help="real images, which int8 takes the ranges of its values from"
    )
    group.add_argument(
        "--calibration-method",
        choices=("minmax", "percentile", "entropy", "mse"),
        default="minmax",
        help="how ranges follow from values (default: minmax)",
    )
    group.add_argument(
        "--min-sqnr-db",
        type=float,
        metavar="DB",
        help="keep in float32 the fewest layers with which the calibration images have this ratio of signal to error",
    )
    group.add_argument(
        "--max-flips", type=share, metavar="SHARE", help="the same for the share of best classes that change: 0.5%%"
    )
    group.add_argument("--batch", type=positive_int, metavar="N", help="static batch size (default: 1)")
    group.add_argument(
        "--dynamic-batch",
        type=_batch_range,
        nargs="?",
        const=DEFAULT_DYNAMIC_BATCH,
        metavar="MIN:MAX",
        help="any batch size of a range (1:8 if none is given)",
    )
    group.add_argument(
        "--opset",
        type=positive_int,
        help="ONNX opset, 18 to 23 (default: 18; 22 for bf16; 23 for half precision on a GPU, which brings Attention)",
    )
    group.add_argument(
        "--uint8-input", action="store_true", help="take RGB pixels (NHWC uint8); normalise inside the graph"
    )
    group.add_argument("--top-k", type=positive_int, metavar="K", help="also output the K best classes")
    group.add_argument("--no-simplify", action="store_true", help="do not run onnxsim")

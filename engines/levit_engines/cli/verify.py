"""levit-verify: the parity ladder of a bundle, measured again; names the module that broke it."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from levit_deploy.commandline import make_parser, positive_int, print_json, print_line, require_packages, run_command
from levit_engines import ENGINES
from levit_engines.verification.request import DEFAULT_PHOTOGRAPHS, VerifyRequest

PROGRAM = "levit-verify"
DESCRIPTION = """\
Measure the parity ladder of a bundle again: its graph and its engines against float64, alone and in batches.
With the weights, every stage from the checkpoint on. Whatever is further off than rounding explains is a miss,
which names the first wrong module, and exit code 1."""


def main(argv: Sequence[str] | None = None) -> int:
    """The console entry point; returns the exit code."""
    words = sys.argv[1:] if argv is None else argv
    return run_command(PROGRAM, lambda: _verify(_parser().parse_args(words), shlex.join([PROGRAM, *words])))


def _verify(arguments: argparse.Namespace, command: str) -> int:
    from levit_deploy.bundle import open_bundle

    request = _request(arguments)
    require_packages(_needed(request), purpose="this verification")
    bundle = open_bundle(arguments.bundle)
    # Only now: these import an engine, which --help and mistyped options should not wait for.
    from levit_deploy.progress import StageDisplay
    from levit_engines.verification import page
    from levit_engines.verification.run import steps, verify
    from levit_engines.verification.tables import print_report

    if arguments.report is not None:
        page.require_packages()
        page.require_destination(arguments.report)
    with StageDisplay(steps(bundle, request)) as display:
        report = verify(bundle, request, display)
    for note in report.notes:
        print_line(f"note: {note}")
    if arguments.report is not None:
        page.write_page(report, arguments.report, command=command)
    if arguments.json:
        print_json(report.to_json())
    else:
        print_report(report, page=arguments.report)
    return report.exit_code


def _needed(request: VerifyRequest) -> dict[str, str]:
    """The packages without which nothing could be measured, each with the extra that brings it."""
    needed = {"onnxruntime": "cpu"}
    if request.from_weights:
        needed |= dict.fromkeys(("torch", "onnxscript", "onnx_ir"), "export")
    return needed


def _request(arguments: argparse.Namespace) -> VerifyRequest:
    return VerifyRequest(
        checkpoint=arguments.checkpoint,
        pretrained=arguments.pretrained,
        untrained=arguments.untrained,
        images=arguments.images,
        photographs=arguments.photographs,
        engines=tuple(dict.fromkeys(arguments.engine)) if arguments.engine else None,
        threads=arguments.threads,
    )


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(PROGRAM, DESCRIPTION, "levit-verify levit-384-fp32 --report report.html")
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the bundle's folder")
    weights = parser.add_argument_group("weights, to start from instead of the bundle's own truth")
    weights.add_argument("--checkpoint", type=Path, metavar="FILE", help="the checkpoint that the bundle was made from")
    weights.add_argument("--pretrained", action="store_true", help="the official weights of the bundle's variant")
    weights.add_argument("--untrained", action="store_true", help="the bundle's untrained weights, from its seed")
    weights.add_argument("--images", type=Path, metavar="DIR", help="photographs to use instead of the bundle's")
    weights.add_argument(
        "--photographs",
        type=positive_int,
        default=DEFAULT_PHOTOGRAPHS,
        metavar="N",
        help="how many of them (default: %(default)s)",
    )
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        action="append",
        help="engine to verify, can be repeated (default: ONNX Runtime, OpenVINO, and what levit-build added)",
    )
    parser.add_argument("--threads", type=positive_int, help="of an engine (default: what this process may use)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="also write one self-contained HTML page")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of tables")
    return parser

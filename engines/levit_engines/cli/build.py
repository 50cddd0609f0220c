"""levit-build: compile a bundle's graph for an engine, and add it to the bundle."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from levit_deploy.commandline import make_parser, positive_int, print_json, print_line, require_packages, run_command
from levit_engines.catalogue import CATALOGUE
from levit_engines.tensorrt.refusals import REFUSED_FLAGS

if TYPE_CHECKING:
    from levit_engines.building import BuildOutcome

PROGRAM = "levit-build"
DESCRIPTION = """\
Compile the graph of a bundle for an engine and add it to the bundle's engines/. Where the engine can run on this
machine it must first reproduce the golden logits; else the manifest says that it was not run.
"""
ENGINES = tuple(name for name, engine in CATALOGUE.items() if engine.buildable)
PROVIDERS = ("cpu", *(name.partition("-")[2] for name in CATALOGUE if name.startswith("onnxruntime-")))


def main(argv: Sequence[str] | None = None) -> int:
    """The console entry point; returns the exit code."""
    return run_command(PROGRAM, lambda: _build(_parser().parse_args(argv)))


def _build(arguments: argparse.Namespace) -> int:
    from levit_deploy.bundle import open_bundle
    from levit_deploy.progress import StageDisplay
    from levit_engines.building import BUILD, STEPS, build_engine
    from levit_engines.built import BuildRequest

    engine = _engine_name(arguments)
    require_packages(_packages(engine), purpose=f"building for {engine}")
    request = BuildRequest(
        compute_capabilities=arguments.compute_capability,
        min_batch=arguments.min_batch,
        opt_batch=arguments.opt_batch,
        max_batch=arguments.max_batch,
        workspace_mib=arguments.workspace_mib,
        timing_cache=arguments.timing_cache,
        threads=arguments.threads,
    )
    bundle = open_bundle(arguments.bundle)
    with StageDisplay(STEPS) as display:
        outcome = build_engine(
            bundle,
            engine,
            request,
            overwrite=arguments.overwrite,
            observer=display,
            on_progress=lambda phase, done, total: display.advanced(BUILD, phase, done, total),
        )
    for note in outcome.notes:
        print_line(f"note: {note}")
    if arguments.json:
        print_json(_document(outcome))
    else:
        _print_table(outcome)
    return 0


def _engine_name(arguments: argparse.Namespace) -> str:
    """The catalogue's name of what --engine and --provider ask for."""
    if arguments.provider is not None and arguments.engine != "onnxruntime":
        _parser().error(f"--provider {arguments.provider} is for --engine onnxruntime; {arguments.engine} has none")
    if arguments.provider in (None, "cpu"):
        return str(arguments.engine)
    return f"onnxruntime-{arguments.provider}"


def _packages(engine: str) -> Mapping[str, str]:
    # Running needs more than building: a plan for a GPU is built where there is none.
    return {name: extra for name, extra in CATALOGUE[engine].packages.items() if "." not in name}


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        PROGRAM, DESCRIPTION, "levit-build levit-384-fp32 --engine tensorrt-rtx --compute-capability 8.9,12.0"
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the bundle's folder")
    parser.add_argument("--engine", choices=ENGINES, required=True)
    parser.add_argument("--provider", choices=PROVIDERS, help="execution provider of ONNX Runtime (default: cpu)")
    parser.add_argument(
        "--compute-capability",
        type=_names,
        default=(),
        metavar="X.Y,…",
        help="GPUs to build for (tensorrt-rtx; default: all that the library knows, from 8.0 on)",
    )
    for name, meaning in (("min", "smallest"), ("opt", "most frequent"), ("max", "largest")):
        parser.add_argument(f"--{name}-batch", type=positive_int, metavar="N", help=f"{meaning} batch to build for")
    parser.add_argument(
        "--workspace-mib", type=positive_int, metavar="MIB", help="most memory for scratch space (TensorRT)"
    )
    parser.add_argument("--timing-cache", type=Path, metavar="FILE", help="timings to read and to add to (tensorrt)")
    parser.add_argument("--threads", type=positive_int, help="default: what this process may use")
    parser.add_argument("--overwrite", action="store_true", help="replace the bundle's engine of this name")
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    # What other builders offer, and users will try here.
    for flag, reason in REFUSED_FLAGS.items():
        parser.add_argument(flag, action=_Refused, reason=reason, nargs="?", help=argparse.SUPPRESS)
    return parser


class _Refused(argparse.Action):
    """An option that is known, and known not to be kept: says why."""

    def __init__(self, *arguments: Any, reason: str, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._reason = reason

    def __call__(
        self, parser: argparse.ArgumentParser, _space: object, _values: object, option: str | None = None
    ) -> NoReturn:
        parser.error(f"{option}: {self._reason}")


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list such as 8.9,12.0")
    return names


def _document(outcome: BuildOutcome) -> dict[str, Any]:
    members = outcome.bundle.manifest.members
    return {
        "bundle": str(outcome.bundle.path),
        "engine": outcome.engine,
        "entry": outcome.entry.to_json(),
        "files": {file: members[file].to_json() for file in outcome.entry.files},
        "notes": list(outcome.notes),
        "seconds": dict(outcome.seconds),
    }


def _print_table(outcome: BuildOutcome) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from levit_deploy.decoding import printable

    entry, members = outcome.entry, outcome.bundle.manifest.members
    table = Table(title=Text(f"{outcome.bundle.manifest.name}: {CATALOGUE[outcome.engine].title}"), show_header=False)
    size = sum(members[file].size_bytes for file in entry.files)
    profile = entry.profile
    rows = {
        "files": "\n".join(entry.files),
        "size": f"{size / 1e6:.1f} MB",
        "libraries": _pairs(entry.libraries),
        "runs on": _pairs(entry.requirements),
        "batch sizes": f"{profile.minimum} to {profile.maximum}, tuned for {profile.optimum}",
        "options": _pairs(entry.options),
        "network": _pairs({name: _short(value) for name, value in entry.network.items()}),
        "built in": f"{entry.build_seconds:.1f} s",
        "verified": entry.verified,
    }
    for name, text in rows.items():
        if text:
            lines = "\n".join(printable(line) for line in text.split("\n"))
            table.add_row(name, Text(lines, overflow="fold"))
    Console(file=sys.stdout).print(table)


def _pairs(table: Mapping[str, str]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in table.items())


def _short(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_short(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(_short(item) for item in value)
    return str(value)

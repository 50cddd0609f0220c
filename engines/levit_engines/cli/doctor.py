"""levit-doctor: what can run here, what cannot and why, and the one thing to do about it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from levit_deploy.commandline import make_parser, print_json, print_line, run_command
from levit_deploy.errors import EnvironmentIncompleteError
from levit_engines.catalogue import CATALOGUE

PROGRAM = "levit-doctor"
DESCRIPTION = """\
Say which engines work on this machine, which do not and why, and the one thing to install or do for each.
Every engine that is installed runs a tiny network, in a process of its own, and its numbers are checked.
Exit code 0 when at least one engine works and no packages clash, else 4."""


def main(argv: Sequence[str] | None = None) -> int:
    """The console entry point; returns the exit code."""
    return run_command(PROGRAM, lambda: _examine(_parser().parse_args(argv)))


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(PROGRAM, DESCRIPTION, "levit-doctor levit-384-fp32")
    parser.add_argument(
        "bundle",
        type=Path,
        nargs="?",
        metavar="BUNDLE",
        help="also say which engines of this bundle can be opened here",
    )
    parser.add_argument(
        "--engine",
        choices=tuple(CATALOGUE),
        action="append",
        metavar="NAME",
        help=f"engine to examine, can be repeated (default: all): {', '.join(CATALOGUE)}",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    return parser


def _examine(arguments: argparse.Namespace) -> int:
    from levit_deploy.bundle import open_bundle
    from levit_deploy.progress import StageDisplay
    from levit_engines.doctor.diagnosis import examine, plan_probes
    from levit_engines.doctor.gather import gather_facts

    bundle = None if arguments.bundle is None else open_bundle(arguments.bundle)
    # In the order of the catalogue, and each once.
    engines = [name for name in CATALOGUE if arguments.engine is None or name in arguments.engine]
    facts = gather_facts()
    tasks = plan_probes(engines, facts)
    with StageDisplay({task.target: task.title for task in tasks}) as display:
        diagnosis = examine(facts, tasks, engines, bundle=bundle, observer=display)
    if arguments.json:
        print_json(diagnosis.to_json())
    else:
        from levit_engines.doctor.tables import print_diagnosis

        print_diagnosis(diagnosis)
    if diagnosis.problem:
        print_line(f"{PROGRAM}: {diagnosis.problem}")
        return EnvironmentIncompleteError.exit_code
    return 0

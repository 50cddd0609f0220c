"""How long ONNX Runtime takes to make a session: of the graph as exported, and of the one that levit-build optimised.

Every session is made in a process of its own, which has imported everything before; the ways take turns, and the page
cache is warm. "opened" is what a user waits for: the bundle is read, hashes are checked, then the session is made.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from levit_benchmarks.bench.rounds import turns
from levit_benchmarks.machine import environment, run_measured
from levit_deploy.bundle import MODEL, Bundle, open_bundle
from levit_deploy.commandline import make_parser, positive_int, print_line, run_command
from levit_deploy.errors import ConfigError
from levit_deploy.onnxruntime_session import SessionSettings, import_onnxruntime, open_session
from levit_deploy.result_files import require_destination, write_result
from levit_engines import open_runner

PROGRAM = "python -m levit_benchmarks.session_creation"
SCHEMA_VERSION = 1
ENGINE = "onnxruntime"
PACKAGES = ("levit-deploy", ENGINE, "numpy")
LIMIT = 0.35  # of the time for the graph as exported, for the session alone
EXPORTED, OPTIMIZED, OPENED = "exported", "optimized", "opened"

WAYS: Mapping[str, Callable[[Bundle], object]] = {
    EXPORTED: lambda bundle: open_session(bundle.path / MODEL),
    OPTIMIZED: lambda bundle: open_session(
        bundle.path / bundle.manifest.engines[ENGINE].files[0], SessionSettings(optimized=False)
    ),
    OPENED: lambda bundle: open_runner(bundle, engine=ENGINE),
}


def seconds_of(way: str, bundle: Bundle) -> float:
    """The time that `way` takes in this process, from which nothing was opened yet."""
    import_onnxruntime()
    start_s = time.perf_counter()
    WAYS[way](bundle)
    return time.perf_counter() - start_s


def measure(bundle: Bundle, rounds: int) -> dict[str, list[float]]:
    """Seconds of every way in each round; one round before them is thrown away."""
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for number in range(rounds + 1):
        for way in turns(tuple(WAYS), number):
            command = [sys.executable, "-m", "levit_benchmarks.session_creation", str(bundle.path.resolve())]
            found[way].append(float(run_measured([*command, "--only", way], Path.cwd()).stdout))
    return {way: seconds[1:] for way, seconds in found.items()}


def summarize(seconds: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Medians, and those of the ratios within a round to the graph as exported."""
    ratios = {
        way: median(one / exported for one, exported in zip(seconds[way], seconds[EXPORTED], strict=True))
        for way in WAYS
    }
    return {"median_s": {way: median(seconds[way]) for way in WAYS}, "ratio": ratios, "limit": LIMIT}


def _bundle(path: Path) -> Bundle:
    bundle = open_bundle(path)
    if ENGINE not in bundle.manifest.engines:
        raise ConfigError(f"{path} has no optimised graph: run levit-build {path} --engine {ENGINE}")
    return bundle


def _study(options: argparse.Namespace) -> int:
    bundles = [_bundle(path) for path in options.bundles]
    if options.only:
        sys.stdout.write(f"{seconds_of(options.only, bundles[0])!r}\n")
        return 0
    if options.output is None:
        raise ConfigError("the following arguments are required: -o")
    require_destination(options.output, overwrite=options.overwrite)
    networks, sessions = [], []
    for bundle in bundles:
        arch, seconds = bundle.manifest.config.arch, measure(bundle, options.rounds)
        summary = summarize(seconds)
        networks.append({"arch": arch, "seconds": seconds, "summary": summary})
        ratios = summary["ratio"]
        sessions.append(ratios[OPTIMIZED])
        print_line(f"LeViT-{arch}: session {ratios[OPTIMIZED]:.3f}, opened {ratios[OPENED]:.3f}")
    document = {
        "schema_version": SCHEMA_VERSION,
        **environment(PACKAGES),
        "settings": {"rounds": options.rounds},
        "networks": networks,
    }
    content = json.dumps(document, indent=2, allow_nan=False) + "\n"
    write_result(options.output, content.encode(), overwrite=options.overwrite)
    return 0 if max(sessions) <= LIMIT else 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; exit code 1 where a session takes more than LIMIT of the other."""
    parser = make_parser(PROGRAM, (__doc__ or "").partition("\n")[0], f"{PROGRAM} levit-384-fp32 -o sessions.json")
    parser.add_argument("bundles", nargs="+", type=Path, metavar="BUNDLE", help="with an optimised graph")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="result")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing result")
    parser.add_argument("--rounds", type=positive_int, default=10, help="timed rounds (default: 10)")
    parser.add_argument("--only", choices=tuple(WAYS), help="make one session in this process, and print its seconds")
    options = parser.parse_args(arguments)
    return run_command(PROGRAM, lambda: _study(options))


if __name__ == "__main__":
    sys.exit(main())

"""levit-bench: how fast bundles run here, on which engine, beside what others offer, and how sure that is."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from levit_benchmarks.bench.record import SCENARIOS
from levit_benchmarks.bench.settings import DEFAULT_BURST, DEFAULT_PROCESSES, DEFAULT_ROUNDS, Against, BenchSettings
from levit_benchmarks.peers.registry import PEERS
from levit_deploy.commandline import (
    comma_separated,
    each_once,
    make_parser,
    positive_int,
    print_json,
    print_line,
    run_command,
)
from levit_deploy.threads import available_threads
from levit_engines import ENGINES, default_engine

PROGRAM, COMPARE = "levit-bench", "compare"
DESCRIPTION = f"""\
Time bundles on engines: every candidate in a process of its own, in alternating rounds, all others frozen meanwhile,
and only after its outputs were checked. The first bundle on the first engine is what the others are compared with.

`{PROGRAM} {COMPARE} A.json B.json` tells what changed between two runs that were kept with --output."""


def main(argv: Sequence[str] | None = None) -> int:
    """The console entry point; returns the exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] == [COMPARE]:
        from levit_benchmarks.bench.comparison import main as compare_main

        return compare_main(words[1:])
    return run_command(PROGRAM, lambda: _bench(_parser().parse_args(words)))


def _bench(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments)
    # Only now: --help and mistyped options should not wait for these.
    from levit_benchmarks.bench import page
    from levit_benchmarks.bench.document import to_json, write_record
    from levit_benchmarks.bench.figures import counted
    from levit_benchmarks.bench.run import open_run, run_bench, steps
    from levit_benchmarks.bench.tables import print_tables, wide_console
    from levit_benchmarks.progress import ProgressDisplay
    from levit_deploy.result_files import require_destination

    if arguments.output is not None:
        require_destination(arguments.output, overwrite=arguments.overwrite)
    if arguments.report is not None:
        page.require_packages()
        page.require_destination(arguments.report, overwrite=arguments.overwrite)
    opened = open_run(settings)
    print_line(f"{PROGRAM}: {counted(settings.threads, 'thread')} for each candidate, {settings.rounds} rounds")
    with ProgressDisplay(steps(settings)) as display:
        record = run_bench(opened, display)
    if arguments.output is not None:
        write_record(record, arguments.output, overwrite=arguments.overwrite)
    if arguments.report is not None:
        page.write_report(record, arguments.report, overwrite=arguments.overwrite)
    if arguments.json:
        print_json(to_json(record))
    else:
        print_tables(record, wide_console())
    for what, message in record.failed.items():
        print_line(f"{PROGRAM}: failed: {what}: {message}")
    return 1 if record.failed else 0


def _settings(arguments: argparse.Namespace) -> BenchSettings:
    from levit_benchmarks.bench.rounds import BurstLength
    from levit_deploy.bundle import open_bundle

    return BenchSettings(
        bundles=tuple(arguments.bundles),
        threads=arguments.threads or available_threads(),
        engines=each_once(arguments.engine) or (default_engine(open_bundle(arguments.bundles[0])),),
        batches=tuple(arguments.batch),
        scenario=arguments.scenario,
        rounds=arguments.rounds,
        burst=BurstLength(seconds=arguments.min_seconds, count=arguments.min_count),
        processes=arguments.processes,
        against=tuple(map(Against.from_text, each_once(arguments.against))),
        checkpoint=arguments.checkpoint,
        cold_starts=arguments.cold_start,
        end_to_end=arguments.end_to_end,
    )


def _parser() -> argparse.ArgumentParser:
    example = f"{PROGRAM} levit-128S-fp32 --engine onnxruntime,openvino --batch 1,8 -o run.json"
    parser = make_parser(PROGRAM, DESCRIPTION, example)
    parser.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE", help="folder that levit-export wrote")
    what = parser.add_argument_group("what is timed")
    what.add_argument(
        "--engine",
        type=comma_separated,
        action="append",
        metavar="NAME",
        help=f"{', '.join(ENGINES)} (default: the fastest on this CPU, native or onnxruntime)",
    )
    what.add_argument("--batch", type=_numbers, default=(1,), metavar="N", help="images a call, as in 1,8,32 (1)")
    what.add_argument("--threads", type=positive_int, metavar="N", help="default: what this process may use")
    what.add_argument(
        "--scenario",
        choices=SCENARIOS,
        default=SCENARIOS[0],
        help="one call after the other, or as many images a second as it gives (default: %(default)s)",
    )
    what.add_argument(
        "--against",
        type=comma_separated,
        action="append",
        metavar="PEER",
        help=f"time a peer too, PEER:ENGINE on another engine than its own: {', '.join(PEERS)}",
    )
    what.add_argument("--checkpoint", type=Path, metavar="FILE", help="weights of the bundle, for peers")
    what.add_argument("--cold-start", type=positive_int, default=0, metavar="N", help="also start N fresh processes")
    what.add_argument("--end-to-end", action="store_true", help="also time photographs from JPEG to classes, by stage")
    long = parser.add_argument_group("for how long")
    long.add_argument("--rounds", type=positive_int, default=DEFAULT_ROUNDS, metavar="N", help="default: %(default)s")
    long.add_argument(
        "--min-seconds",
        type=float,
        default=DEFAULT_BURST.seconds,
        metavar="S",
        help="of every candidate in every round (default: %(default)s)",
    )
    long.add_argument(
        "--min-count",
        type=positive_int,
        default=DEFAULT_BURST.count,
        metavar="N",
        help="calls of every candidate in every round (default: %(default)s)",
    )
    long.add_argument(
        "--processes",
        type=positive_int,
        default=DEFAULT_PROCESSES,
        metavar="N",
        help="of every candidate, one after the other, that share the rounds (default: %(default)s)",
    )
    results = parser.add_argument_group("results")
    results.add_argument("--json", action="store_true", help="print one JSON document instead of tables")
    results.add_argument("-o", "--output", type=Path, metavar="FILE", help="keep the run, with every sample, as JSON")
    results.add_argument("--report", type=Path, metavar="DIR", help="write a page with plots")
    results.add_argument("--overwrite", action="store_true", help="replace what --output and --report find")
    return parser


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(positive_int(number.strip()) for number in text.split(","))

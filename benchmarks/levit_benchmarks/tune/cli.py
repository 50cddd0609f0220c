"""levit-tune: which LeViT, on which engine, with which threads and batch, meets a goal on this machine."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from levit_benchmarks.bench.statistics import PERCENTILES
from levit_benchmarks.tune.goal import DEFAULT_PERCENTILE, Goal
from levit_deploy.architectures import PUBLISHED
from levit_deploy.commandline import (
    comma_separated,
    each_once,
    make_parser,
    positive_int,
    print_json,
    print_line,
    run_command,
)
from levit_deploy.errors import ConfigError
from levit_deploy.threads import available_threads
from levit_engines.catalogue import CATALOGUE

if TYPE_CHECKING:
    from levit_benchmarks.tune.option import Source

PROGRAM = "levit-tune"
DESCRIPTION = """\
Find which variant, engine, threads and batch meet a goal on this machine. All are measured, none is modelled: a short
screening of every option, then the best few in turn, by the method of levit-bench. Of what meets the goal, the most
accurate is chosen, and of that the fastest; without a limit on the speed, the fastest.

Top-1 is what LeViT's authors published, not what was measured here. Weights do not matter for speed: without BUNDLE,
untrained ones are exported and tried."""
DEFAULT_MINUTES = 10.0
DEFAULT_BATCHES = {"single-stream": (1,), "offline": (1, 8)}


def main(argv: Sequence[str] | None = None) -> int:
    """The console entry point; returns the exit code."""
    return run_command(PROGRAM, lambda: _tune(_parser().parse_args(argv)))


def _tune(arguments: argparse.Namespace) -> int:
    goal = Goal(
        min_top1=arguments.min_top1,
        max_latency_ms=arguments.max_latency_ms,
        percentile=arguments.percentile,
        min_images_per_s=arguments.min_images_per_second,
    )
    if not 0 < arguments.budget < 24 * 60:
        raise ConfigError(f"--budget {arguments.budget:g}: needed are minutes, above 0 and less than a day of them")
    if arguments.keep is not None and (arguments.bundles or not arguments.keep.is_dir()):
        raise ConfigError(f"--keep {arguments.keep}: needed is a folder that exists, and no BUNDLE beside it")
    _require_outputs(arguments)
    highest = max(PUBLISHED.items(), key=lambda pair: pair[1].top1)
    if goal.min_top1 is not None and highest[1].top1 < goal.min_top1:
        print_line(
            f"{PROGRAM}: nothing meets it: no LeViT has a published top-1 of {goal.min_top1:g} %; "
            f"the nearest is LeViT-{highest[0]} with {highest[1].top1:g} %"
        )
        return 1
    temporary = tempfile.TemporaryDirectory(prefix="levit-tune-") if arguments.keep is None else None
    with temporary or nullcontext(str(arguments.keep)) as folder:
        return _search(arguments, goal, Path(folder).absolute())


def _search(arguments: argparse.Namespace, goal: Goal, folder: Path) -> int:
    # Only now: --help and mistyped options should not wait for these.
    from levit_benchmarks.bench.figures import counted
    from levit_benchmarks.bench.tables import wide_console
    from levit_benchmarks.progress import ProgressDisplay
    from levit_benchmarks.tune.document import run_record, to_json
    from levit_benchmarks.tune.finding import choose
    from levit_benchmarks.tune.option import options_of, thread_counts
    from levit_benchmarks.tune.rendering import answer_sentences, print_result
    from levit_benchmarks.tune.search import search

    engines = _engines(arguments)
    threads = arguments.threads or thread_counts(available_threads())[: 1 if goal.scenario == "offline" else None]
    batches = arguments.batch or DEFAULT_BATCHES[goal.scenario]
    sources = _sources(arguments, goal, engines, batches, folder)
    options, left_out = options_of(sources, goal, engines=engines, batches=batches, threads=threads)
    if not options:
        for one in left_out:
            print_line(f"! left out: {one.name}: {one.reason}")
        print_line(f"{PROGRAM}: nothing meets it: no option is left to be measured")
        return 1
    seconds = 60 * arguments.budget
    print_line(f"{PROGRAM}: {counted(len(options), 'option')} on {', '.join(engines)}, {arguments.budget:g} min")
    with ProgressDisplay(round(seconds) + 1) as display:
        found = search(options, goal, seconds=seconds, observer=display)
    found = replace(found, left_out=(*left_out, *found.left_out))
    settings = {
        **asdict(goal),
        "engines": list(engines),
        "batches": list(batches),
        "threads": list(threads),
        "budget_minutes": arguments.budget,
        "bundles": [source.name for source in sources],
    }
    record = run_record(found, goal, settings)
    result = to_json(found, goal, record)
    _write(arguments, record, result)
    if arguments.json:
        print_json(result)
        for sentence in answer_sentences(found, goal):
            print_line(f"{PROGRAM}: {sentence}")
    else:
        print_result(found, goal, record, wide_console())
    return 0 if choose(found.confirmed, goal) is not None else 1


def _engines(arguments: argparse.Namespace) -> tuple[str, ...]:
    """Those that are asked for, found to be installed; else those that work here."""
    if arguments.engine is None:
        from levit_benchmarks.tune.engines import working_engines

        print_line(f"{PROGRAM}: looking for engines that work here")
        return working_engines()
    from levit_benchmarks.bench.run import require_engines

    names = each_once(arguments.engine)
    require_engines(names)
    return names


def _sources(
    arguments: argparse.Namespace, goal: Goal, engines: Sequence[str], batches: Sequence[int], folder: Path
) -> tuple[Source, ...]:
    from levit_benchmarks.progress import ProgressDisplay
    from levit_benchmarks.tune.sources import export_count, exported, given, variants_for

    if arguments.bundles:
        return given(arguments.bundles, arguments.batch)
    archs = variants_for(goal.min_top1)
    count = export_count(archs, engines, batches)
    print_line(f"{PROGRAM}: untrained bundles of LeViT-{', '.join(archs)}; weights do not matter for speed")
    with ProgressDisplay(count) as display:
        return exported(archs, engines, batches, folder, lambda name: display.advance(1, f"exported {name}"))


def _require_outputs(arguments: argparse.Namespace) -> None:
    from levit_benchmarks.bench import page
    from levit_deploy.result_files import require_destination

    if arguments.output is not None:
        require_destination(arguments.output, overwrite=arguments.overwrite)
    if arguments.report is not None:
        page.require_packages()
        page.require_destination(arguments.report, overwrite=arguments.overwrite)


def _write(arguments: argparse.Namespace, record: Any, result: dict[str, Any]) -> None:
    from levit_benchmarks.bench import page
    from levit_deploy.result_files import write_result

    if arguments.output is not None:
        content = (json.dumps(result, indent=1, allow_nan=False) + "\n").encode("ascii")
        write_result(arguments.output, content, overwrite=arguments.overwrite)
    if arguments.report is not None:
        page.write_report(record, arguments.report, overwrite=arguments.overwrite)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(PROGRAM, DESCRIPTION, f"{PROGRAM} --min-top1 80 --max-latency-ms 20")
    parser.add_argument("bundles", type=Path, nargs="*", metavar="BUNDLE", help="try these, and export nothing")
    wanted = parser.add_argument_group("what is wanted (one of them at least)")
    wanted.add_argument("--min-top1", type=float, metavar="PERCENT", help="published ImageNet top-1")
    wanted.add_argument("--max-latency-ms", type=float, metavar="MS", help="of a call, so of a whole batch")
    wanted.add_argument(
        "--percentile",
        type=float,
        choices=PERCENTILES,
        default=DEFAULT_PERCENTILE,
        metavar="P",
        help=f"of the latency that has to keep the limit: {', '.join(f'{p:g}' for p in PERCENTILES)} (default: 90)",
    )
    wanted.add_argument(
        "--min-images-per-second",
        type=float,
        metavar="N",
        help="without --max-latency-ms offline: several sessions may share out the threads",
    )
    tried = parser.add_argument_group("what is tried")
    tried.add_argument(
        "--engine",
        type=comma_separated,
        action="append",
        metavar="NAME",
        help=f"{', '.join(CATALOGUE)} (default: those that work here, without PyTorch's)",
    )
    tried.add_argument("--batch", type=_numbers, metavar="N", help="images a call, as in 1,8 (default: 1; offline 1,8)")
    tried.add_argument(
        "--threads",
        type=_numbers,
        metavar="N",
        help="of a candidate in all, as in 1,2 (default: what this process may use, and powers of two below)",
    )
    tried.add_argument(
        "--budget",
        type=float,
        default=DEFAULT_MINUTES,
        metavar="MINUTES",
        help="for all measuring; exports come before it (default: %(default)g)",
    )
    tried.add_argument("--keep", type=Path, metavar="DIR", help="keep what is exported there, and take what is there")
    results = parser.add_argument_group("results")
    results.add_argument("--json", action="store_true", help="print one JSON document instead of tables")
    results.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="keep the result, with every sample, as JSON"
    )
    results.add_argument("--report", type=Path, metavar="DIR", help="write a page with plots, the frontier among them")
    results.add_argument("--overwrite", action="store_true", help="replace what --output and --report find")
    return parser


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(dict.fromkeys(positive_int(number.strip()) for number in text.split(",")))

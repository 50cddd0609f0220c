"""How often levit-bench's verdicts are wrong, and whether they find a slow-down of 5 %, on the machine at hand.

Every run times three candidates on one bundle and one engine, in the rounds and processes of levit-bench. Two are
alike; the planted one waits, busily, for 5 % of the time that each of its calls took. The verdict on the two that are
alike should be "cannot tell", that on the planted one "slower".
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from levit_benchmarks.bench.engine_subject import EngineSubject, import_engine
from levit_benchmarks.bench.record import SINGLE_STREAM, Candidate
from levit_benchmarks.bench.rounds import BurstLength, Crew, run_rounds
from levit_benchmarks.bench.settings import DEFAULT_BURST, DEFAULT_PROCESSES, DEFAULT_ROUNDS
from levit_benchmarks.bench.subject import Order
from levit_benchmarks.bench.summary import CANNOT_TELL, SLOWER, Verdict, image_time_s, verdict_on
from levit_benchmarks.machine import environment
from levit_benchmarks.progress import ProgressDisplay
from levit_deploy.bundle import open_bundle
from levit_deploy.commandline import make_parser, positive_int, print_line, run_command
from levit_deploy.errors import ConfigError
from levit_deploy.result_files import write_result
from levit_deploy.threads import available_threads
from levit_engines.evaluation.statistics import share_interval

MODULE = "levit_benchmarks.verdict_study"
PROGRAM = f"python -m {MODULE}"
SCHEMA_VERSION = 1
BASELINE, SAME, PLANTED = "baseline", "same", "planted"
SHARE = "share"
"""The option of an order that says how much longer each call takes."""
MOST_FALSE, LEAST_FOUND = 0.05, 0.9
PACKAGES = ("levit-deploy", "numpy", "onnxruntime", "openvino")


class SlowedSubject:
    """An engine whose every call takes longer by a share of its own time."""

    def __init__(self, subject: EngineSubject, share: float) -> None:
        self._subject, self._share = subject, share

    def check(self) -> Candidate:
        """That of the engine."""
        return self._subject.check()

    def images(self) -> NDArray[Any]:
        """Those of the engine."""
        return self._subject.images()

    def infer(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """What the engine gives, later."""
        clock = time.perf_counter_ns
        start_ns = clock()
        logits = self._subject.infer(images)
        end_ns = clock()
        until_ns = end_ns + round(self._share * (end_ns - start_ns))
        while clock() < until_ns:
            pass
        return logits

    def close(self) -> None:
        """Free the engine."""
        self._subject.close()


class SlowedPeer:
    """See `levit_benchmarks.bench.subject.Peer`; a share of 0 is the engine itself."""

    name, packages = "slowed", ()

    def prepare(self, order: Order, folder: Path) -> None:
        """There is nothing to do."""

    def import_engine(self, order: Order) -> None:
        """Load its library."""
        import_engine(order.engine)

    def open_subject(self, order: Order) -> SlowedSubject:
        """The order's engine, slowed down."""
        return SlowedSubject(EngineSubject(order), float(order.options[SHARE]))


PEER = SlowedPeer()


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRun:
    """One run: what each round took, in seconds by candidate, and how busy the machine was."""

    times_s: dict[str, list[float]]
    steal: float | None
    other_load: float | None

    def verdict(self, name: str) -> Verdict:
        """That on `name` against the baseline."""
        return verdict_on([a / b for a, b in zip(self.times_s[name], self.times_s[BASELINE], strict=True)])


def run_once(order: Order, *, share: float, rounds: int, processes: int, length: BurstLength) -> StudyRun:
    """One run."""
    shares = {BASELINE: 0.0, SAME: 0.0, PLANTED: share}
    crews: list[Crew] = []
    try:
        for name, part in shares.items():
            crews.append(Crew(replace(order, name=name, peer=MODULE, options={SHARE: str(part)}), 1))
        done = run_rounds(crews, rounds=rounds, length=length, processes=processes)
    finally:
        for crew in crews:
            crew.close()
    steal, other = ([getattr(one.conditions, field) for one in done] for field in ("steal", "other_load"))
    return StudyRun(
        times_s={
            name: [image_time_s(one.bursts[name], scenario=SINGLE_STREAM, batch=order.batch) for one in done]
            for name in shares
        },
        steal=_mean(steal),
        other_load=_mean(other),
    )


def summarize(runs: Sequence[StudyRun]) -> dict[str, Any]:
    """How often each verdict came, with exact 95 % intervals of the rates that count."""
    same = [run.verdict(SAME).outcome for run in runs]
    planted = [run.verdict(PLANTED).outcome for run in runs]
    false, found = sum(outcome != CANNOT_TELL for outcome in same), planted.count(SLOWER)
    return {
        "runs": len(runs),
        "false_verdicts": _rate(false, len(runs)),
        "planted_found": _rate(found, len(runs)),
        "outcomes": {SAME: _counted(same), PLANTED: _counted(planted)},
        "limits": {"false_verdicts": MOST_FALSE, "planted_found": LEAST_FOUND},
        "passed": false <= MOST_FALSE * len(runs) and found >= LEAST_FOUND * len(runs),
    }


def _rate(count: int, total: int) -> dict[str, Any]:
    return {"count": count, "rate": count / total, "interval": share_interval(count, total)}


def _counted(outcomes: Sequence[str]) -> dict[str, int]:
    return {outcome: outcomes.count(outcome) for outcome in sorted(set(outcomes))}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _document(options: argparse.Namespace, runs: Sequence[StudyRun]) -> dict[str, Any]:
    settings = {
        "engine": options.engine,
        "network": f"LeViT-{open_bundle(options.bundle).manifest.config.arch}",
        "threads": options.threads,
        "batch": options.batch,
        "rounds": options.rounds,
        "processes": options.processes,
        "min_seconds": options.min_seconds,
        "planted_share": options.slower,
    }
    entries = [
        asdict(run) | {"verdicts": {name: asdict(run.verdict(name)) for name in (SAME, PLANTED)}} for run in runs
    ]
    head = {"schema_version": SCHEMA_VERSION} | environment(PACKAGES)
    return head | {"settings": settings, "summary": summarize(runs), "runs": entries}


def _study(options: argparse.Namespace) -> int:
    path: Path = options.json
    if path.exists() and not options.overwrite:
        raise ConfigError(f"{path} exists: choose another --json, or replace it with --overwrite")
    order = Order(
        name=BASELINE,
        threads=options.threads,
        batch=options.batch,
        network=f"LeViT-{open_bundle(options.bundle).manifest.config.arch}",
        engine=options.engine,
        bundle=options.bundle,
    )
    length = BurstLength(seconds=options.min_seconds, count=DEFAULT_BURST.count)
    runs: list[StudyRun] = []
    with ProgressDisplay(options.runs) as display:
        for _ in range(options.runs):
            run = run_once(
                order, share=options.slower, rounds=options.rounds, processes=options.processes, length=length
            )
            runs.append(run)
            # Kept after every run: a study of hours is not lost to an interrupt.
            content = (json.dumps(_document(options, runs), allow_nan=False) + "\n").encode("ascii")
            write_result(path, content, overwrite=True)
            display.advance(1, f"{len(runs)} runs: {_sentence(summarize(runs))}")
    summary = summarize(runs)
    print_line(f"{_sentence(summary)}; samples: {path}")
    return 0 if summary["passed"] else 1


def _sentence(summary: dict[str, Any]) -> str:
    false, found = summary["false_verdicts"], summary["planted_found"]
    return (
        f"{false['count']} of {summary['runs']} verdicts on equals false ({false['rate']:.1%}, interval "
        f"{false['interval'][0]:.1%} to {false['interval'][1]:.1%}), slow-down found in {found['count']} "
        f"({found['rate']:.1%}, {found['interval'][0]:.1%} to {found['interval'][1]:.1%})"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; exit code 1 where equals are told apart too often, or the slow-down is not found."""
    parser = make_parser(PROGRAM, (__doc__ or "").partition("\n")[0], f"{PROGRAM} levit-128S-fp32 --runs 60")
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder that levit-export wrote")
    parser.add_argument("--runs", type=positive_int, default=60, help="default: %(default)s")
    parser.add_argument("--rounds", type=positive_int, default=DEFAULT_ROUNDS, help="of a run (default: %(default)s)")
    parser.add_argument("--processes", type=positive_int, default=DEFAULT_PROCESSES, help="default: %(default)s")
    parser.add_argument("--min-seconds", type=float, default=DEFAULT_BURST.seconds, help="default: %(default)s")
    parser.add_argument("--engine", default="onnxruntime", help="default: %(default)s")
    parser.add_argument("--threads", type=positive_int, default=available_threads(), help="default: %(default)s")
    parser.add_argument("--batch", type=positive_int, default=1, help="default: %(default)s")
    parser.add_argument("--slower", type=float, default=0.05, metavar="SHARE", help="planted (default: %(default)s)")
    parser.add_argument("--json", type=Path, default=Path("verdict-study.json"), metavar="FILE", help="result")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing result")
    options = parser.parse_args(arguments)
    return run_command(PROGRAM, lambda: _study(options))


if __name__ == "__main__":
    sys.exit(main())

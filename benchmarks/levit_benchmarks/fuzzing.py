"""Hours of libFuzzer for the C++ runtime's parsers, counted in CPU time, and their record.

A busy machine gives a fuzzer a fraction of the hour that the clock shows, so what counts is the CPU time of the
targets themselves. They run in turns of two minutes; the record is written after each, and a later run with the same
programs goes on from it and from the inputs that were found. An input that breaks a target ends the run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from levit_benchmarks.machine import BenchmarkError, environment, run_measured
from levit_deploy.bundle import sha256_of
from levit_deploy.commandline import make_parser, positive_int, print_line, run_command
from levit_deploy.errors import ConfigError
from levit_deploy.result_files import write_result

PROGRAM = "python -m levit_benchmarks.fuzzing"
SCHEMA_VERSION = 1
TURN_SECONDS = 120
SEEDS = Path(__file__).parents[2] / "engines" / "runtime" / "fuzz" / "seeds"
LIMITS = ("-timeout=20", "-rss_limit_mb=0", "-malloc_limit_mb=2048")
"""An input may take 20 s and one allocation 2 GiB. libFuzzer would take its parent's peak of memory for its own."""

_EXECUTIONS = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_COVERAGE = re.compile(r"cov: (\d+) ft: (\d+) corp: (\d+)/")


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetRecord:
    """What one target was given so far; `edges` and `features` are libFuzzer's counts of what was reached."""

    target: str
    program_sha256: str
    turns: int = 0
    cpu_s: float = 0.0
    inputs: int = 0
    kept_inputs: int = 0
    edges: int = 0
    features: int = 0


def after_turn(record: TargetRecord, *, cpu_s: float, said: str) -> TargetRecord:
    """`record` with one more turn, of which libFuzzer said `said`; BenchmarkError where it gave no statistics."""
    executions, coverage = _EXECUTIONS.search(said), _COVERAGE.findall(said)
    if executions is None or not coverage:
        raise BenchmarkError(f"{record.target} printed no statistics: is it built with the preset fuzz?")
    edges, features, kept = map(int, coverage[-1])
    return TargetRecord(
        target=record.target,
        program_sha256=record.program_sha256,
        turns=record.turns + 1,
        cpu_s=record.cpu_s + cpu_s,
        inputs=record.inputs + int(executions.group(1)),
        kept_inputs=kept,
        edges=edges,
        features=features,
    )


def begin(programs: Iterable[Path], earlier: Iterable[TargetRecord]) -> list[TargetRecord]:
    """A record for each program: the earlier one where it was of these very bytes, else an empty one."""
    known = {(record.target, record.program_sha256): record for record in earlier}
    empty = [TargetRecord(target=path.name, program_sha256=sha256_of(path.read_bytes())) for path in programs]
    return [known.get((record.target, record.program_sha256), record) for record in empty]


class _Run:
    """The turns of all targets, a few at once, and the record on the disk after each."""

    def __init__(self, options: argparse.Namespace, records: Sequence[TargetRecord], head: dict[str, Any]) -> None:
        self._build: Path = options.build
        self._corpus: Path = options.corpus
        self._output: Path = options.output
        self._cpu_seconds: int = options.cpu_seconds
        self._head = head
        self._records = {record.target: record for record in records}
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def fuzz_all(self, processes: int) -> None:
        """Every target, `processes` at a time; the first that breaks ends the run, once the others' turns are over."""
        with ThreadPoolExecutor(processes) as pool:
            try:
                for done in as_completed([pool.submit(self._fuzz, target) for target in self._records]):
                    done.result()
            finally:
                self._stopped.set()

    def _fuzz(self, target: str) -> None:
        """Turns of `target` until it had its CPU time."""
        while not self._stopped.is_set() and (record := self._records[target]).cpu_s < self._cpu_seconds:
            found, broken = self._corpus / target, self._corpus / "broken"
            for folder in (found, broken):
                folder.mkdir(parents=True, exist_ok=True)
            left = max(1, min(TURN_SECONDS, round(self._cpu_seconds - record.cpu_s)))
            limits = [*LIMITS, f"-max_total_time={left}", f"-seed={record.turns + 1}", "-print_final_stats=1"]
            folders = [f"-artifact_prefix={broken.resolve()}/{target}-", str(found.resolve()), str(SEEDS / target)]
            cost = run_measured([str((self._build / target).resolve()), *limits, *folders], self._corpus)
            record = after_turn(record, cpu_s=cost.cpu_s, said=cost.stderr)
            with self._lock:
                self._records[target] = record
                self._write()
                print_line(f"{target}: {record.cpu_s:.0f} s, {record.inputs} inputs, {record.edges} edges")

    def _write(self) -> None:
        targets = [asdict(record) for record in self._records.values()]
        text = json.dumps(self._head | {"targets": targets}, indent=2, allow_nan=False) + "\n"
        write_result(self._output, text.encode(), overwrite=True)


def _earlier(path: Path) -> list[TargetRecord]:
    if not path.exists():
        return []
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return [TargetRecord(**target) for target in document["targets"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is no record of {PROGRAM}: choose another -o") from error


def _fuzz(options: argparse.Namespace) -> int:
    programs = sorted(path for path in options.build.glob("fuzz_*") if path.is_file() and os.access(path, os.X_OK))
    if not programs:
        raise ConfigError(f"{options.build} has no fuzz targets: cmake --preset fuzz && cmake --build --preset fuzz")
    records = begin(programs, _earlier(options.output))
    settings = {"cpu_seconds": options.cpu_seconds, "limits": LIMITS}
    options.corpus.mkdir(parents=True, exist_ok=True)
    run = _Run(options, records, {"schema_version": SCHEMA_VERSION, **environment(()), "settings": settings})
    run.fuzz_all(options.processes)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; an input that breaks a target is a failed run, and lies below the corpus in `broken`."""
    example = f"{PROGRAM} build/fuzz -o fuzzing.json"
    parser = make_parser(PROGRAM, (__doc__ or "").partition("\n")[0], example)
    parser.add_argument("build", type=Path, help="folder of the preset fuzz, with the programs fuzz_*")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="record, gone on with")
    parser.add_argument("--corpus", type=Path, default=Path("build/corpus"), help="inputs found (build/corpus)")
    parser.add_argument("--cpu-seconds", type=positive_int, default=3600, help="for each target (default: 3600)")
    parser.add_argument("--processes", type=positive_int, default=1, help="targets at a time (default: 1)")
    options = parser.parse_args(arguments)
    return run_command(PROGRAM, lambda: _fuzz(options))


if __name__ == "__main__":
    sys.exit(main())

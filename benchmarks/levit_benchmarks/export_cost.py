"""Wall time and peak memory of `levit-export`, cold, beside the ONNX exports of timm and transformers.

Every measurement is a fresh process with untrained weights: interpreter start, imports, model, export, file written;
ours simplifies and verifies too. The page cache and Python's bytecode are warm. Rounds interleave the candidates;
ratios are taken within a round. `machine.ProcessCost` says what peak memory covers.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from levit_benchmarks.machine import BenchmarkError, environment, run_measured
from levit_deploy.architectures import config_for
from levit_deploy.commandline import make_parser, positive_int, print_line, run_command
from levit_deploy.errors import ConfigError, EnvironmentIncompleteError

PROGRAM = "python -m levit_benchmarks.export_cost"
SCHEMA_VERSION = 1
LIMIT = 2.0  # ours, with verification, must stay below this many times the slower peer
OURS, PEERS = "levit-export", ("timm", "transformers")
CANDIDATES = (OURS, *PEERS)
OUTSIDE = "outside stages"  # interpreter start, imports, exit
REQUIRED = ("levit-deploy", "torch", "onnxscript", "onnx-ir", "onnxsim", "onnxruntime", "timm", "transformers")
PACKAGES = (*REQUIRED, "torchvision", "numpy", "onnx")
ROWS = (("wall, s", "wall_s", 1, 2), ("CPU, s", "cpu_s", 1, 2), ("peak RSS, MiB", "peak_rss_bytes", 2**20, 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One cold process; `cpu_s` is user and system time, `output_bytes` all that it wrote."""

    wall_s: float
    cpu_s: float
    peak_rss_bytes: int
    output_bytes: int
    stages_s: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One sample of each candidate, in turn, and the load averages (1, 5, 15 minutes) around them."""

    load_before: tuple[float, ...]
    load_after: tuple[float, ...]
    samples: Mapping[str, Sample]

    @property
    def slower_peer(self) -> Sample:
        return max((self.samples[peer] for peer in PEERS), key=lambda sample: sample.wall_s)

    @property
    def ratio(self) -> float:
        return self.samples[OURS].wall_s / self.slower_peer.wall_s


def summarize(rounds: Sequence[Round]) -> dict[str, Any]:
    """Medians over the rounds; ratios and extra seconds (ours less the slower peer) are paired within each."""
    ratios = [one.ratio for one in rounds]
    stages = tuple(dict.fromkeys(name for one in rounds for name in one.samples[OURS].stages_s))
    candidates = {name: _medians([one.samples[name] for one in rounds], stages) for name in CANDIDATES}
    extra = {
        stage: median(one.samples[OURS].stages_s[stage] - one.slower_peer.stages_s.get(stage, 0.0) for one in rounds)
        for stage in stages
    }
    ratio = {"median": median(ratios), "min": min(ratios), "max": max(ratios), "limit": LIMIT}
    return {"ratio": ratio, "within_limit": ratio["median"] < LIMIT, "candidates": candidates, "extra_s": extra}


def _medians(samples: Sequence[Sample], stages: Sequence[str]) -> dict[str, Any]:
    fields = ("wall_s", "cpu_s", "peak_rss_bytes", "output_bytes")
    medians: dict[str, Any] = {field: median(getattr(sample, field) for sample in samples) for field in fields}
    walls = [sample.wall_s for sample in samples]
    seconds = {stage: median(sample.stages_s.get(stage, 0.0) for sample in samples) for stage in stages}
    return medians | {"wall_s_range": [min(walls), max(walls)], "stages_s": seconds}


def verdict(summary: Mapping[str, Any]) -> str:
    """The one sentence of the result."""
    return f"ours takes {summary['ratio']['median']:.2f}x the slower peer (limit {summary['ratio']['limit']:.2f}x)"


def parse_stages(text: str, wall_s: float) -> dict[str, float]:
    """Seconds by stage from the JSON that a candidate prints, and those of `wall_s` that no stage accounts for."""
    try:
        stages = {str(stage["name"]): float(stage["seconds"]) for stage in json.loads(text)["stages"]}
    except (ValueError, TypeError, KeyError) as error:
        raise BenchmarkError(f"no stages in what it printed: {text[:200]!r}") from error
    if not stages or not all(math.isfinite(seconds) and seconds >= 0 for seconds in stages.values()):
        raise BenchmarkError(f"stages {stages} are not durations")
    return {OUTSIDE: wall_s - sum(stages.values())} | stages


def commands(arch: str) -> dict[str, tuple[str, ...]]:
    """What each candidate runs, in a new folder."""
    modules = {peer: f"levit_benchmarks.peers.{peer}_export" for peer in PEERS}
    peers = {peer: ("python", "-m", module, "--arch", arch, "model.onnx") for peer, module in modules.items()}
    return {OURS: ("levit-export", "--arch", arch, "--json", "-o", "bundle"), **peers}


def measure(command: Sequence[str]) -> Sample:
    """Run `command` once, cold, in a folder of its own that is gone afterwards."""
    program = sys.executable if command[0] == "python" else str(Path(sysconfig.get_path("scripts"), command[0]))
    if not Path(program).exists():
        raise EnvironmentIncompleteError(f"{command[0]} is not installed beside this Python: pip install levit-deploy")
    with tempfile.TemporaryDirectory() as name:
        cost = run_measured((program, *command[1:]), Path(name))
        output_bytes = sum(path.stat().st_size for path in Path(name).rglob("*") if path.is_file())
        if not output_bytes:
            raise BenchmarkError(f"{command[0]} wrote nothing")
        return Sample(
            wall_s=cost.wall_s,
            cpu_s=cost.cpu_s,
            peak_rss_bytes=cost.peak_rss_bytes,
            output_bytes=output_bytes,
            stages_s=parse_stages(cost.stdout, cost.wall_s),
        )


def run_rounds(arch: str, rounds: int) -> list[Round]:
    """The timed rounds; number 0 before them warms the page cache and is thrown away."""
    done = []
    for number in range(rounds + 1):
        before, samples = os.getloadavg(), {}
        for name, command in commands(arch).items():
            samples[name] = measure(command)
            print_line(f"round {number}/{rounds}: {name} {samples[name].wall_s:.1f} s")
        done.append(Round(load_before=before, load_after=os.getloadavg(), samples=samples))
    return done[1:]


def print_tables(arch: str, rounds: Sequence[Round], summary: Mapping[str, Any]) -> None:
    """Each candidate's medians, where the seconds go, and how busy the machine was."""
    console, medians = Console(highlight=False), summary["candidates"]
    table = Table(title=f"LeViT-{arch} to ONNX, cold; medians of {len(rounds)} rounds")
    for column in ("", *CANDIDATES, "extra"):
        table.add_column(column, justify="right" if column else "left")
    for stage, extra in summary["extra_s"].items():
        table.add_row(stage, *(f"{medians[name]['stages_s'][stage]:.2f}" for name in CANDIDATES), f"{extra:+.2f}")
    table.add_section()
    table.add_row("wall, min..max", *("{:.2f}..{:.2f}".format(*medians[name]["wall_s_range"]) for name in CANDIDATES))
    for label, field, unit, digits in ROWS:
        table.add_row(label, *(f"{medians[name][field] / unit:.{digits}f}" for name in CANDIDATES))
    console.print(table)
    loads = ", ".join(f"{one.load_before[0]:.2f}>{one.load_after[0]:.2f}" for one in rounds)
    console.print(f"extra: ours less the round's slower peer. Load average before>after each round: {loads}")
    ratio, outcome = summary["ratio"], "pass" if summary["within_limit"] else "FAIL"
    console.print(f"{verdict(summary)}: {outcome}; rounds {ratio['min']:.2f}x..{ratio['max']:.2f}x")


def _benchmark(options: argparse.Namespace) -> int:
    arch = config_for(options.arch).arch
    path: Path = options.json or Path(f"export-cost-{arch}.json")
    if not path.parent.is_dir() or path.is_dir():
        raise ConfigError(f"{path} is not a file in an existing folder")
    if path.exists() and not options.overwrite:
        raise ConfigError(f"{path} exists: choose another --json, or replace it with --overwrite")
    head = {"schema_version": SCHEMA_VERSION} | environment(PACKAGES)
    missing = [name for name in REQUIRED if head["packages"][name] is None]
    if missing:
        raise EnvironmentIncompleteError(f"{', '.join(missing)} missing: pip install levit-deploy[export,cpu,bench]")
    rounds = run_rounds(arch, options.rounds)
    summary = summarize(rounds)
    settings = {"arch": arch, "rounds": options.rounds, "warmup_rounds": 1, "commands": commands(arch)}
    document = head | {"settings": settings, "rounds": [asdict(one) for one in rounds], "summary": summary}
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(path)
    print_tables(arch, rounds, summary)
    print_line(f"samples: {path}")
    return 0 if summary["within_limit"] else 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; exit code 1 where ours is not below the limit."""
    parser = make_parser(PROGRAM, (__doc__ or "").partition("\n")[0], f"{PROGRAM} --arch 384 --rounds 5")
    parser.add_argument("--arch", default="384", help="variant (default: 384)")
    parser.add_argument("--rounds", type=positive_int, default=5, help="timed rounds (default: 5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="result (default: ./export-cost-ARCH.json)")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing result")
    options = parser.parse_args(arguments)
    return run_command(PROGRAM, lambda: _benchmark(options))


if __name__ == "__main__":
    sys.exit(main())

"""The headline of LeViT's paper measured again: Table 3 on one CPU thread, published beside measured.

Both networks of a pair run on the same engine: PyTorch, eager (the paper timed traced networks); and ONNX Runtime. All
have their batch normalisations really folded. Each engine is one run of levit-bench, at batch 16.

    for arch in 128S 128 192 256 384; do levit-export --arch $arch --dynamic-batch 1:16 -o levit-$arch; done
    python -m levit_benchmarks.headline levit-128S levit-128 levit-192 levit-256 levit-384 -o headline.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import Any

from levit_benchmarks.bench.paired import paired_interval
from levit_benchmarks.bench.record import Group, RunRecord
from levit_benchmarks.bench.rounds import BurstLength
from levit_benchmarks.bench.settings import Against, BenchSettings
from levit_benchmarks.bench.summary import round_times_s
from levit_deploy.commandline import make_parser, positive_int, print_line, run_command
from levit_deploy.errors import ConfigError

PROGRAM = "python -m levit_benchmarks.headline"
KIND, SCHEMA_VERSION = "levit-bench headline", 1
THREADS, BATCH, IMAGE_SIZE = 1, 16, 224
ENGINES = ("torch-eager", "onnxruntime")
# A call of EfficientNet-B4 takes seconds, and one call a round is a sample of the pair; six rounds carry an interval.
DEFAULT_ROUNDS, BURST = 9, BurstLength(seconds=0.5, count=1)

SOURCE = (
    "Graham et al., arXiv 2104.01136v2, Table 3: Intel Xeon Gold 6138, one thread, batch 16, PyTorch traced, float32; "
    "to more digits where the authors' .github/timings.txt gives them"
)
PUBLISHED: Mapping[str, float] = MappingProxyType(
    {
        "LeViT-128S": 131.1,
        "EfficientNet-B0": 30.1,
        "LeViT-128": 94.0,
        "LeViT-192": 65.014,
        "EfficientNet-B1": 20.0,
        "EfficientNet-B2": 13.155,
        "LeViT-256": 42.51,
        "DeiT-Tiny": 39.1,
        "EfficientNet-B3": 5.85,
        "LeViT-384": 23.1,
        "EfficientNet-B4": 2.5,
        "DeiT-Small": 13.7,
    }
)
"""Images a second, in the order of the table: by FLOPs."""

PAIRS = (
    ("LeViT-192", "EfficientNet-B2"),  # the claim: five times as fast, at 80 % top-1
    ("LeViT-256", "EfficientNet-B3"),
    ("LeViT-128S", "EfficientNet-B0"),
    ("LeViT-192", "EfficientNet-B1"),
    ("LeViT-384", "EfficientNet-B4"),
    ("LeViT-128S", "DeiT-Tiny"),
    ("LeViT-384", "DeiT-Small"),
)
"""Networks that the paper sets beside each other for their accuracy, its own first."""
ANCHOR = "EfficientNet-B0"
"""Every other row of the table is also given as a ratio to this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """How many times faster one network is than the other: the median of the rounds, and its 95 % interval.

    The interval is None where there are too few rounds for one.
    """

    ratio: float
    interval: tuple[float, float] | None
    rounds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A ratio of speeds, published and measured, by engine."""

    network: str
    other: str
    published: float
    measured: Mapping[str, Ratio]


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Images a second of one network, published and measured, by engine."""

    network: str
    published: float
    measured: Mapping[str, float]


def settings_for(bundles: Sequence[Path], engine: str, rounds: int) -> BenchSettings:
    """The run of levit-bench that measures the table on `engine`."""
    others = [network for network in PUBLISHED if not network.startswith("LeViT")]
    return BenchSettings(
        bundles=tuple(bundles),
        threads=THREADS,
        engines=(engine,),
        batches=(BATCH,),
        rounds=rounds,
        processes=1,  # networks that differ by a percent are not told apart here
        burst=BURST,
        against=tuple(Against(peer=network.lower(), engine=engine) for network in others),
    )


def pairs(groups: Mapping[str, Group]) -> list[Pair]:
    """The pairs of which both networks were measured. `groups` are by engine."""
    return [
        Pair(
            network=network,
            other=other,
            published=PUBLISHED[network] / PUBLISHED[other],
            measured={engine: _ratio(times[network], times[other]) for engine, times in _times(groups).items()},
        )
        for network, other in dict.fromkeys(
            (*PAIRS, *((network, ANCHOR) for network in PUBLISHED if network != ANCHOR))
        )
        if all({network, other} <= set(times) for times in _times(groups).values())
    ]


def speeds(groups: Mapping[str, Group]) -> list[Speed]:
    """The networks that were measured, in the order of the table."""
    times = _times(groups)
    return [
        Speed(
            network=network,
            published=published,
            measured={engine: 1 / median(found[network]) for engine, found in times.items() if network in found},
        )
        for network, published in PUBLISHED.items()
        if any(network in found for found in times.values())
    ]


def to_json(records: Mapping[str, RunRecord]) -> dict[str, Any]:
    """What was published and measured, and the runs of levit-bench that it follows from, by engine."""
    from levit_benchmarks.bench import document

    groups = {engine: record.groups[0] for engine, record in records.items()}
    return {
        "kind": KIND,
        "schema_version": SCHEMA_VERSION,
        "source": SOURCE,
        "pairs": [asdict(pair) for pair in pairs(groups)],
        "speeds": [asdict(speed) for speed in speeds(groups)],
        "runs": {engine: document.to_json(record) for engine, record in records.items()},
    }


def _times(groups: Mapping[str, Group]) -> dict[str, dict[str, list[float]]]:
    """Seconds an image of each round, by engine and network."""
    return {
        engine: {candidate.network: round_times_s(group, candidate.name) for candidate in group.candidates}
        for engine, group in groups.items()
    }


def _ratio(times_s: Sequence[float], others_s: Sequence[float]) -> Ratio:
    ratios = [other / own for own, other in zip(times_s, others_s, strict=True)]
    return Ratio(ratio=median(ratios), interval=paired_interval(ratios), rounds=len(ratios))


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    yield f"times as fast, one thread, batch {BATCH}; published, then measured: the median of the rounds, 95 % interval"
    for pair in document["pairs"]:
        found = ", ".join(f"{engine} {_text(ratio)}" for engine, ratio in pair["measured"].items())
        yield f"{pair['network']:>10} : {pair['other']:<15} {pair['published']:5.2f}   {found}"
    yield "images a second"
    for speed in document["speeds"]:
        found = ", ".join(f"{engine} {images_s:.1f}" for engine, images_s in speed["measured"].items())
        yield f"{speed['network']:>15} {speed['published']:7.1f}   {found}"


def _text(ratio: Mapping[str, Any]) -> str:
    interval = ratio["interval"]
    return f"{ratio['ratio']:.2f}" + (f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else "")


def _measure(options: argparse.Namespace) -> int:
    from levit_benchmarks.bench.run import open_run, run_bench, steps
    from levit_benchmarks.progress import ProgressDisplay
    from levit_deploy.result_files import require_destination, write_result

    path: Path = options.output
    require_destination(path, overwrite=options.overwrite)
    opened = {engine: open_run(settings_for(options.bundles, engine, options.rounds)) for engine in ENGINES}
    configs = [bundle.manifest.config for bundle in opened[ENGINES[0]].bundles.values()]
    archs = [config.arch for config in configs]
    if len(set(archs)) < len(archs) or any(config.image_size != IMAGE_SIZE for config in configs):
        raise ConfigError(f"needed are different variants at {IMAGE_SIZE} pixels, given are {', '.join(archs)}")
    with ProgressDisplay(sum(steps(run.settings) for run in opened.values())) as display:
        records = {engine: run_bench(run, display) for engine, run in opened.items()}
    found = to_json(records)
    content = (json.dumps(found, indent=1, allow_nan=False) + "\n").encode("ascii")
    write_result(path, content, overwrite=options.overwrite)
    for line in _lines(found):
        print(line)
    failed = {f"{engine}, {what}": text for engine, run in records.items() for what, text in run.failed.items()}
    for what, text in failed.items():
        print_line(f"{PROGRAM}: failed: {what}: {text}")
    print_line(f"samples: {path}")
    return 1 if failed else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    summary = (__doc__ or "").partition("\n")[0]
    parser = make_parser(PROGRAM, summary, f"{PROGRAM} levit-192 levit-256 -o headline.json")
    parser.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE", help="of different variants, for batch 16")
    parser.add_argument("--rounds", type=positive_int, default=DEFAULT_ROUNDS, metavar="N", help="default: %(default)s")
    parser.add_argument("-o", "--output", type=Path, default=Path("headline.json"), metavar="FILE", help="the result")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing result")
    options = parser.parse_args(arguments)
    return run_command(PROGRAM, lambda: _measure(options))


if __name__ == "__main__":
    sys.exit(main())

"""The derived rounding bounds, held against thousands of random and real inputs.

Truth is the eager network in float64. Three float32 rungs are held to the bound of every input: the eager network,
the fused one, and its exported graph on ONNX Runtime with default optimisations. A bound is refuted by one error
above it, and says nothing if errors stay below a hundredth of it; either is a miss.

Weights are untrained and seeded; a new network is drawn every few thousand inputs. Every variant is written to the
result as soon as it is done, and one that is there with the same settings is not measured again.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from levit_benchmarks.progress import ProgressDisplay
from levit_benchmarks.study_inputs import Photograph, find_photographs, kind_of, make_input
from levit_deploy.architectures import VARIANTS, config_for
from levit_deploy.arithmetic import FLOAT32_UNIT_ROUNDOFF, FP32
from levit_deploy.commandline import make_parser, positive_int, print_line, run_command
from levit_deploy.errors import ConfigError
from levit_deploy.fusion import fuse
from levit_deploy.initialization import randomize
from levit_deploy.machine import describe_machine, package_versions
from levit_deploy.manifest import BatchSizes
from levit_deploy.model import Levit, create_model
from levit_deploy.onnxruntime_session import SessionSettings, open_session
from levit_deploy.preprocessing import Preprocessing, normalize, preprocessing_for
from levit_deploy.rounding import FAILURE_PROBABILITY, SAFETY, logit_bounds, rounding_noise
from levit_export.forms.convolutions import convolution_form
from levit_export.request import DEFAULT_OPSET
from levit_export.tracing import DeployedNetwork, trace

PROGRAM = "python -m levit_benchmarks.bound_study"
SCHEMA_VERSION = 1
SMALLEST_SHARE = 0.01  # of the bound: typical and largest errors below it would make the bound say nothing
PACKAGES = ("levit-deploy", "torch", "numpy", "pillow", "onnx", "onnxscript", "onnxruntime")
COLUMNS = ("largest", "median", "percentile_1", "smallest")

Infer = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a variant is studied with; network number i has the seed `seed` + i."""

    arch: str
    image_size: int
    inputs: int
    inputs_per_network: int
    batch_size: int
    seed: int
    threads: int
    unit_roundoff: float = FLOAT32_UNIT_ROUNDOFF
    safety: float = SAFETY
    failure_probability: float = FAILURE_PROBABILITY

    @property
    def cost_of_input(self) -> int:
        """Multiply-accumulates of one forward pass: what the remaining time is estimated from."""
        return config_for(self.arch, image_size=self.image_size).mac_count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One network: the float64 truth and the rungs that are held to its bounds."""

    reference: Levit
    rungs: Mapping[str, Infer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Largest |logit error| of some inputs as shares of their bounds, by rung, and the kind of each input."""

    kinds: tuple[str, ...]
    by_rung: Mapping[str, tuple[float, ...]]


def build_network(settings: Settings, number: int) -> Network:
    """Network `number` of the study in all its forms."""
    model = create_model(settings.arch, image_size=settings.image_size)
    randomize(model, settings.seed + number)
    fused = fuse(model.eval())
    return Network(
        reference=copy.deepcopy(model).double(),
        rungs={
            "eager float32": _infer_eagerly(model),
            "fused float32": _infer_eagerly(fused),
            "ONNX Runtime": _infer_exported(fused, settings),
        },
    )


def _infer_eagerly(model: Levit) -> Infer:
    def infer(images: NDArray[np.float32]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = model(torch.from_numpy(images)).numpy()
        return logits

    return infer


def _infer_exported(fused: Levit, settings: Settings) -> Infer:
    """The exported graph on ONNX Runtime, for batches of up to the size that is studied."""
    sizes = BatchSizes(minimum=1, maximum=settings.batch_size, verified=())
    images = torch.zeros(min(2, settings.batch_size), 3, settings.image_size, settings.image_size)
    network = DeployedNetwork(convolution_form(fused), pixels=None, top_k=None)
    graph = trace(network, images, batch_sizes=sizes, opset=DEFAULT_OPSET)
    session = open_session(
        graph.SerializeToString(), SessionSettings(threads=settings.threads), name="the exported graph"
    )
    (image_input,) = session.get_inputs()

    def infer(images: NDArray[np.float32]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = session.run(None, {image_input.name: images})[0]
        return logits

    return infer


@torch.no_grad()
def measure(
    network: Network, images: NDArray[np.float32], contract: Preprocessing, seed: int
) -> dict[str, NDArray[np.float64]]:
    """Largest |logit error| of each normalised image as a share of its bound, by rung; `seed` is the bound's."""
    inputs = torch.from_numpy(images).double()
    truth = network.reference(inputs)
    offsets = torch.tensor(contract.mean).double() / torch.tensor(contract.std).double()
    noise = rounding_noise(FP32, seed)
    bounds = logit_bounds(network.reference, inputs, truth, subtracted=offsets.reshape(3, 1, 1), noise=noise)
    errors = {name: np.abs(infer(images) - truth.numpy()).max(axis=1) for name, infer in network.rungs.items()}
    return {name: error / bounds for name, error in errors.items()}


def run_variant(settings: Settings, photographs: tuple[Photograph, ...], finished: Callable[[int], None]) -> Shares:
    """Measure one variant; `finished` is told how many inputs were done after every batch."""
    contract = preprocessing_for("untrained", settings.image_size)
    kinds: list[str] = []
    shares: dict[str, list[float]] = {}
    for number, first in enumerate(range(0, settings.inputs, settings.inputs_per_network)):
        network = build_network(settings, number)
        generator = np.random.default_rng((settings.seed, number))
        last = min(first + settings.inputs_per_network, settings.inputs)
        for start in range(first, last, settings.batch_size):
            batch = [kind_of(index) for index in range(start, min(start + settings.batch_size, last))]
            pixels = np.stack([make_input(kind, photographs, contract, generator) for kind in batch])
            # Another seed for every batch, so that one lucky draw of the noise does not speak for all.
            measured = measure(network, normalize(pixels, contract), contract, seed=start)
            for name, values in measured.items():
                shares.setdefault(name, []).extend(values.tolist())
            kinds += batch
            finished(len(batch))
    return Shares(kinds=tuple(kinds), by_rung={name: tuple(values) for name, values in shares.items()})


def summarize(shares: Shares) -> dict[str, dict[str, Any]]:
    """The figures of every rung; a share that is NaN counts as exceeded."""
    return {name: _figures(np.array(values), np.array(shares.kinds)) for name, values in shares.by_rung.items()}


def _figures(values: NDArray[np.float64], kinds: NDArray[np.str_]) -> dict[str, Any]:
    with np.errstate(invalid="ignore"):
        percentile, median = np.quantile(values, (0.01, 0.5)).tolist()
    return {
        "inputs": len(values),
        "exceeded": int(np.sum(~(values <= 1.0))),
        "below_a_hundredth": int(np.sum(values < SMALLEST_SHARE)),
        "largest": float(values.max()),
        "median": median,
        "percentile_1": percentile,
        "smallest": float(values.min()),
        "largest_input": int(values.argmax()),  # counted from 0; NaN before all others
        "largest_by_kind": {str(kind): float(values[kinds == kind].max()) for kind in np.unique(kinds)},
    }


def find_misses(rungs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Why the bound fails the study, one sentence for every rung of which that is so."""
    misses = []
    for name, figures in rungs.items():
        if figures["exceeded"]:
            misses.append(
                f"{name}: {figures['exceeded']} of {figures['inputs']} inputs exceed the bound, "
                f"the worst is {figures['largest']:.3g} times as large"
            )
        elif not (figures["largest"] >= SMALLEST_SHARE and figures["median"] >= SMALLEST_SHARE):
            misses.append(
                f"{name}: the bound says nothing: the largest error is {figures['largest']:.3g} of it, "
                f"the median {figures['median']:.3g}; needed is {SMALLEST_SHARE}"
            )
    return misses


def study_variant(settings: Settings, finished: Callable[[int], None]) -> dict[str, Any]:
    """Measure one variant and judge it: its entry in the result."""
    photographs = find_photographs()
    start_s = time.perf_counter()
    shares = run_variant(settings, photographs, finished)
    rungs = summarize(shares)
    misses = find_misses(rungs)
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": describe_machine().to_json(),
        "packages": package_versions(PACKAGES),
        "settings": asdict(settings),
        "inputs": {
            "kinds": dict(sorted(Counter(shares.kinds).items())),
            "photographs": [photograph.name for photograph in photographs],
        },
        "wall_s": round(time.perf_counter() - start_s, 1),
        "rungs": rungs,
        "misses": misses,
        "verdict": "miss" if misses else "pass",
    }


def _plain(value: Any) -> Any:
    """`value` with NaN and infinity as text, as JSON has neither."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def read_variants(path: Path) -> dict[str, Any]:
    """The variants in an earlier result, none if there is no file; ConfigError if it is something else."""
    if not path.exists():
        return {}
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        variants: dict[str, Any] = {
            arch: document["variants"][arch] for arch in VARIANTS if arch in document["variants"]
        }
        if document["schema_version"] != SCHEMA_VERSION or not all("settings" in one for one in variants.values()):
            raise ValueError("another schema")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is not a result of this study: choose another --json") from error
    return variants


def write_variants(path: Path, variants: Mapping[str, Any]) -> None:
    """Replace the result in one step, variants in their usual order."""
    document = {"schema_version": SCHEMA_VERSION, "variants": {a: variants[a] for a in VARIANTS if a in variants}}
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(_plain(document), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(path)


def _watch(display: ProgressDisplay, settings: Settings) -> Callable[[int], None]:
    """What shows on `display` how many inputs of a variant are done."""
    done = 0

    def finished(inputs: int) -> None:
        nonlocal done
        done += inputs
        display.advance(inputs * settings.cost_of_input, f"{settings.arch}: {done} of {settings.inputs} inputs")

    return finished


def _wanted(options: argparse.Namespace) -> Iterator[Settings]:
    for arch in dict.fromkeys(config_for(name, image_size=options.image_size).arch for name in options.arch):
        yield Settings(
            arch=arch,
            image_size=options.image_size,
            inputs=options.inputs,
            inputs_per_network=options.inputs_per_network,
            batch_size=options.batch_size,
            seed=options.seed,
            threads=options.threads,
        )


def _still_to_do(
    wanted: Sequence[Settings], variants: Mapping[str, Any], options: argparse.Namespace
) -> list[Settings]:
    if options.overwrite:
        return list(wanted)
    for settings in wanted:
        if settings.arch in variants and variants[settings.arch]["settings"] != asdict(settings):
            raise ConfigError(
                f"{options.json} has {settings.arch} with other settings: choose another --json, "
                "or measure it anew with --overwrite"
            )
    return [settings for settings in wanted if settings.arch not in variants]


def print_table(variants: Mapping[str, Any]) -> None:
    """Every rung of every variant."""
    console = Console(highlight=False)
    table = Table(title="largest |logit error| of an input as a share of its bound")
    for column in ("variant", "rung", "inputs", "exceeded", *COLUMNS, "verdict"):
        table.add_column(column.replace("_", " "), justify="left" if column in ("variant", "rung") else "right")
    for arch, variant in variants.items():
        for name, figures in variant["rungs"].items():
            shares = (f"{float(figures[column]):.3g}" for column in COLUMNS)
            table.add_row(arch, name, str(figures["inputs"]), str(figures["exceeded"]), *shares, variant["verdict"])
    console.print(table)


def _study(options: argparse.Namespace) -> int:
    path: Path = options.json
    if not path.parent.is_dir() or path.is_dir():
        raise ConfigError(f"{path} is not a file in an existing folder")
    wanted = list(_wanted(options))
    variants = read_variants(path)
    to_do = _still_to_do(wanted, variants, options)
    for settings in wanted:
        if settings not in to_do:
            print_line(f"{settings.arch} is in {path} already")
    torch.set_num_threads(options.threads)
    with ProgressDisplay(sum(settings.inputs * settings.cost_of_input for settings in to_do)) as display:
        for settings in to_do:
            variants[settings.arch] = study_variant(settings, _watch(display, settings))
            write_variants(path, variants)
    asked = {settings.arch: variants[settings.arch] for settings in wanted}
    print_table(asked)
    misses = [f"{arch}, {miss}" for arch, variant in asked.items() for miss in variant["misses"]]
    for miss in misses:
        print_line(f"{PROGRAM}: miss: {miss}")
    print_line(f"figures: {path}")
    return 1 if misses else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; exit code 1 where a bound was exceeded, or says nothing."""
    example = f"{PROGRAM} --arch 128S 384 --inputs 10000 --image-size 96 --json bound-study.json"
    parser = make_parser(PROGRAM, (__doc__ or "").partition("\n")[0], example)
    parser.add_argument("--arch", nargs="+", default=list(VARIANTS), help="variants (default: all)")
    parser.add_argument("--inputs", type=positive_int, default=10_000, help="for each variant (default: 10000)")
    parser.add_argument(
        "--inputs-per-network", type=positive_int, default=2_500, metavar="N", help="then new weights (default: 2500)"
    )
    parser.add_argument("--image-size", type=positive_int, default=96, metavar="PX", help="(default: 96)")
    parser.add_argument("--batch-size", type=positive_int, default=16, metavar="N", help="(default: 16)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and inputs (default: 0)")
    parser.add_argument("--threads", type=positive_int, default=1, metavar="N", help="(default: 1)")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="result; what is in it is not redone")
    parser.add_argument("--overwrite", action="store_true", help="measure anew what the result has already")
    options = parser.parse_args(arguments)
    return run_command(PROGRAM, lambda: _study(options))


if __name__ == "__main__":
    sys.exit(main())

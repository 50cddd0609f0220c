"""levit-classify: the best classes of images, from a bundle alone."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from levit_deploy.commandline import make_parser, positive_int, print_json, print_line, run_command
from levit_engines import ENGINES, open_runner

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from levit_deploy.bundle import Bundle
    from levit_deploy.runner import Runner

PROGRAM = "levit-classify"


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """One class that an image may be of; `rank` counts from 1, `probability` is the softmax of the logits."""

    rank: int
    index: int
    name: str
    probability: float


def main(argv: Sequence[str] | None = None) -> int:
    """The console entry point; returns the exit code."""
    return run_command(PROGRAM, lambda: _classify(_parser().parse_args(argv)))


def classify(runner: Runner, bundle: Bundle, files: Sequence[Path], *, top_k: int) -> list[list[Guess]]:
    """The `top_k` best guesses for each file, best first; the lower index first where two are equal.

    Raises:
        ImageError: naming the first file that cannot be decoded.
        RunnerError: the engine failed, or gave logits that are not finite.
    """
    from levit_deploy.preprocessing import preprocess_file
    from levit_engines.batches import as_batch, group_size

    labels, size = bundle.labels(), group_size(runner.batch_sizes)
    guesses = []
    for start in range(0, len(files), size):
        group = files[start : start + size]
        pixels = [preprocess_file(file, bundle.manifest.preprocessing) for file in group]
        logits = runner.infer(as_batch(bundle, pixels, minimum=runner.batch_sizes.minimum))
        guesses += [_best(row, labels, file, top_k=top_k) for file, row in zip(group, logits, strict=False)]
    return guesses


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        PROGRAM,
        "Print the most probable classes of images, from a bundle that levit-export wrote.",
        "levit-classify levit-384-fp32 cat.jpg dog.png --top-k 3",
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the bundle's folder")
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="JPEG, PNG, WebP, … files")
    parser.add_argument("--top-k", type=positive_int, default=5, help="classes per image (default: 5)")
    parser.add_argument("--engine", choices=ENGINES, help="default: the fastest on this CPU, native or onnxruntime")
    parser.add_argument("--threads", type=positive_int, help="default: what this process may use")
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    return parser


def _classify(arguments: argparse.Namespace) -> int:
    from levit_deploy.bundle import open_bundle

    bundle = open_bundle(arguments.bundle)
    with open_runner(bundle, engine=arguments.engine, threads=arguments.threads) as runner:
        for note in runner.notes:
            print_line(f"note: {note}")
        guesses = classify(runner, bundle, arguments.images, top_k=arguments.top_k)
    if bundle.manifest.weights.get("origin") == "untrained":
        print_line(f"{PROGRAM}: {arguments.bundle}: untrained weights, the probabilities mean nothing")
    if arguments.json:
        print_json(_document(arguments, guesses, runner))
    else:
        _print_tables(arguments.images, guesses, runner)
    return 0


def _best(logits: NDArray[np.float32], labels: Sequence[str], file: Path, *, top_k: int) -> list[Guess]:
    import numpy as np

    from levit_deploy.errors import RunnerError

    scores = logits.astype(np.float64)
    if not np.isfinite(scores).all():
        raise RunnerError(f"{file}: the logits are not finite; export the bundle again")
    exponentials = np.exp(scores - scores.max())
    probabilities = exponentials / exponentials.sum()
    order = np.argsort(-scores, kind="stable")[:top_k]
    return [
        Guess(rank=rank, index=int(index), name=labels[index], probability=float(probabilities[index]))
        for rank, index in enumerate(order, start=1)
    ]


def _document(arguments: argparse.Namespace, guesses: Sequence[Sequence[Guess]], runner: Runner) -> dict[str, Any]:
    images = [
        {"file": str(file), "top": [_guess_document(guess) for guess in best]}
        for file, best in zip(arguments.images, guesses, strict=True)
    ]
    threads = runner.provenance.get("threads")
    return {
        "bundle": str(arguments.bundle),
        "engine": runner.provenance["engine"],
        "device": runner.device,
        "threads": None if threads is None else int(threads),
        "images": images,
    }


def _guess_document(guess: Guess) -> dict[str, Any]:
    return {"rank": guess.rank, "class": guess.index, "name": guess.name, "probability": guess.probability}


def _print_tables(files: Sequence[Path], guesses: Sequence[Sequence[Guess]], runner: Runner) -> None:
    # Rich takes 100 ms to import, so only who looks at tables waits for it.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from levit_deploy.decoding import printable

    console = Console()
    for file, best in zip(files, guesses, strict=True):
        # Text, because names and paths may hold what Rich takes for markup.
        table = Table(title=Text(printable(str(file))), title_justify="left")
        table.add_column("rank", justify="right")
        table.add_column("class name", overflow="fold")
        table.add_column("class", justify="right")
        table.add_column("probability", justify="right")
        for guess in best:
            name, percent = Text(printable(guess.name)), f"{100 * guess.probability:.2f} %"
            table.add_row(str(guess.rank), name, str(guess.index), percent)
        console.print(table)
    run = {**runner.provenance, "device": runner.device}
    facts = [f"{name} {run[name]}" for name in ("engine", "device", "threads") if name in run]
    console.print(", ".join(facts), highlight=False)

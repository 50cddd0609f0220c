"""levit-eval: top-1 and top-5 of a bundle on labelled images, and whether it keeps the accuracy of another."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from levit_deploy.commandline import make_parser, positive_int, print_json, print_line, run_command, share
from levit_deploy.errors import ConfigError, ImageError
from levit_deploy.threads import available_threads
from levit_engines import ENGINES, default_engine

if TYPE_CHECKING:
    from levit_deploy.bundle import Bundle
    from levit_engines.evaluation.outcome import Comparison, Outcome
    from levit_engines.evaluation.run import Result
    from levit_engines.evaluation.samples import Dataset

PROGRAM = "levit-eval"
DESCRIPTION = """\
Run labelled images through a bundle and count how many it gets right, with exact intervals. With --against the same
images go through another bundle too, and the verdict is on the pairs: which images were lost, and which were won."""
PUBLISHED = "published"
DEFAULT_BUDGET = 0.01
SCHEMA_VERSION = 1
MOST_NAMED = 5


def main(argv: Sequence[str] | None = None) -> int:
    """The console entry point; returns the exit code."""
    return run_command(PROGRAM, lambda: _evaluate(_parser().parse_args(argv)))


def _evaluate(arguments: argparse.Namespace) -> int:
    from levit_deploy.bundle import open_bundle
    from levit_deploy.result_files import require_destination, write_result
    from levit_engines.evaluation.dataset import read_dataset

    output: Path | None = arguments.output
    if output is not None:
        require_destination(output, overwrite=arguments.overwrite)
    bundle = open_bundle(arguments.bundle)
    published_top1 = _published_top1(bundle) if arguments.against == PUBLISHED else None
    reference = None if arguments.against in (None, PUBLISHED) else open_bundle(Path(arguments.against))
    if reference is not None and reference.labels() != bundle.labels():
        raise ConfigError(f"{reference.path} has other classes than {bundle.path}: there is nothing to compare")
    dataset = read_dataset(arguments.data, bundle.labels(), ground_truth=arguments.ground_truth)
    fingerprint = dataset.fingerprint()
    print_line(f"{PROGRAM}: {len(dataset.samples)} images, classes: {dataset.classes}")
    if bundle.manifest.weights.get("origin") == "untrained":
        print_line(f"{PROGRAM}: {bundle.path}: untrained weights, the accuracy is that of chance")
    both = [bundle, *([reference] if reference is not None else [])]
    results = [
        _run(one, dataset, fingerprint, arguments, role)
        for one, role in zip(both, ("bundle", "reference"), strict=False)
    ]
    broken = {name: reason for name, reason in results[0].items() if isinstance(reason, str)}
    if reference is not None:
        broken |= {name: reason for name, reason in results[1].items() if isinstance(reason, str)}
    _require_readable(broken, len(dataset.samples), skip=arguments.skip_broken)
    outcomes = [_readable(found, broken) for found in results]
    comparison = _comparison(arguments, outcomes, reference, bundle, published_top1)
    data = {
        "folder": str(arguments.data),
        "images": len(dataset.samples),
        "classes": dataset.classes,
        "fingerprint": fingerprint,
        "broken": broken,
    }
    document = _document(arguments, bundle, data, outcomes, comparison)
    if output is not None:
        content = (json.dumps(document, indent=1, allow_nan=False) + "\n").encode("ascii")
        write_result(output, content, overwrite=arguments.overwrite)
        for role in ("bundle", "reference"):
            _journal_path(output, role).unlink(missing_ok=True)
    if arguments.json:
        print_json(document)
    else:
        _print(document, comparison)
    return 1 if comparison is not None and comparison.verdict == "lost" else 0


def _run(
    bundle: Bundle, dataset: Dataset, fingerprint: str, arguments: argparse.Namespace, role: str
) -> dict[str, Result]:
    """Every image through `bundle`; what a journal already knows is not run again."""
    from levit_engines import open_runner
    from levit_engines.evaluation.journal import Journal
    from levit_engines.evaluation.run import Classifier, evaluate

    with ExitStack() as stack:
        runner = stack.enter_context(open_runner(bundle, engine=arguments.engine, threads=arguments.threads))
        for note in runner.notes:
            print_line(f"note: {note}")
        journal = None
        if arguments.output is not None:
            key = {
                "kind": f"{PROGRAM} journal",
                "model_sha256": runner.provenance["model_sha256"],
                "preprocessing": bundle.manifest.preprocessing.to_json(),
                "engine": runner.provenance["engine"],
                "data": fingerprint,
            }
            journal = stack.enter_context(Journal(_journal_path(arguments.output, role), key))
        known: Mapping[str, Result] = {} if journal is None else journal.known
        missing = [sample for sample in dataset.samples if sample.name not in known]
        if known:
            print_line(f"{PROGRAM}: {len(known)} of {len(dataset.samples)} images are known from an interrupted run")
        with _progress(bundle, len(dataset.samples), len(known)) as advance:

            def on_result(sample: Any, result: Result) -> None:
                if journal is not None:
                    journal.add(sample.name, result)
                advance()

            found = evaluate(
                Classifier(bundle=bundle, runner=runner),
                missing,
                workers=arguments.workers or available_threads(),
                on_result=on_result,
            )
    results = {**known, **found}
    return {sample.name: results[sample.name] for sample in dataset.samples}


@contextmanager
def _progress(bundle: Bundle, total: int, done: int) -> Iterator[Callable[[], None]]:
    """What is to be called after each image: on a terminal it moves a bar with rate and remaining time."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    speed = TextColumn("{task.speed:.0f} images/s")
    with Progress(*columns, speed, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(bundle.path.name, total=total, completed=done)
        yield lambda: progress.advance(task)


def _require_readable(broken: Mapping[str, str], total: int, *, skip: bool) -> None:
    listed = "; ".join(list(broken.values())[:MOST_NAMED])
    if broken and not skip:
        raise ImageError(
            f"{len(broken)} of {total} images cannot be read: {listed}; mend or remove them, or leave them out with "
            "--skip-broken"
        )
    if len(broken) == total:
        raise ImageError(f"none of the {total} images can be read: {listed}")


def _readable(results: Mapping[str, Result], broken: Mapping[str, str]) -> list[Outcome]:
    return [result for name, result in results.items() if name not in broken and not isinstance(result, str)]


def _comparison(
    arguments: argparse.Namespace,
    outcomes: Sequence[Sequence[Outcome]],
    reference: Bundle | None,
    bundle: Bundle,
    published_top1: float | None,
) -> Comparison | None:
    from levit_engines.evaluation.outcome import compare_paired, compare_published

    if reference is not None:
        return compare_paired(outcomes[0], outcomes[1], name=str(reference.path), budget=arguments.budget)
    if published_top1 is None:
        return None
    name = f"the published {100 * published_top1:.1f} of LeViT-{bundle.manifest.config.arch}"
    return compare_published(outcomes[0], published_top1=published_top1, name=name, budget=arguments.budget)


def _published_top1(bundle: Bundle) -> float:
    from levit_deploy.architectures import IMAGENET_CLASSES
    from levit_deploy.architectures import PUBLISHED as FIGURES

    config = bundle.manifest.config
    if config.num_classes != IMAGENET_CLASSES or config.image_size != 224:
        raise ConfigError(
            f"--against published: {bundle.path} has {config.num_classes} classes at {config.image_size} pixels, "
            "published figures are of ImageNet's 1000 at 224; give --against BUNDLE"
        )
    return FIGURES[config.arch].top1 / 100


def _document(
    arguments: argparse.Namespace,
    bundle: Bundle,
    data: Mapping[str, Any],
    outcomes: Sequence[Sequence[Outcome]],
    comparison: Comparison | None,
) -> dict[str, Any]:
    from dataclasses import asdict

    from levit_engines.evaluation.outcome import Accuracy

    manifest = bundle.manifest
    return {
        "kind": PROGRAM,
        "schema_version": SCHEMA_VERSION,
        "bundle": str(arguments.bundle),
        "model_sha256": manifest.members["model.onnx"].sha256,
        "precision": manifest.precision,
        "engine": arguments.engine or default_engine(bundle),
        "preprocessing": manifest.preprocessing.to_json(),
        "data": dict(data),
        "accuracy": Accuracy.of(outcomes[0]).to_json(),
        "reference": None if len(outcomes) == 1 else Accuracy.of(outcomes[1]).to_json(),
        "comparison": None if comparison is None else {**asdict(comparison), "budget": arguments.budget},
    }


def _print(document: Mapping[str, Any], comparison: Comparison | None) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from levit_deploy.decoding import printable

    console = Console(file=sys.stdout, highlight=False)
    table = Table(title=Text(printable(f"{document['bundle']} on {document['engine']}")), title_justify="left")
    for title in ("", "images", "top-1, %", "95 % interval", "top-5, %", "95 % interval"):
        table.add_column(title, justify="right" if title else "left")
    for name in ("accuracy", "reference"):
        found = document[name]
        if found is not None:
            cells = [
                cell
                for key in ("top1", "top5")
                for cell in (f"{100 * found[key]['share']:.2f}", _span(found[key]["interval"]))
            ]
            table.add_row("this bundle" if name == "accuracy" else "reference", str(found["images"]), *cells)
    console.print(table)
    broken = document["data"]["broken"]
    if broken:
        console.print(f"{len(broken)} images could not be read and were left out")
    if comparison is not None:
        console.print(Text(printable(comparison.sentence())))


def _span(interval: Sequence[float]) -> str:
    return f"{100 * interval[0]:.2f} to {100 * interval[1]:.2f}"


def _journal_path(output: Path, role: str) -> Path:
    return output.absolute().parent / f".{output.name}.{role}.journal"


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(PROGRAM, DESCRIPTION, f"{PROGRAM} levit-384-int8 --data imagenet/val --against levit-384-fp32")
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the bundle's folder")
    data = parser.add_argument_group("images")
    data.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="PATH",
        help="a folder with one for each class, or with all images; or .tar or .parquet files, or a folder of those",
    )
    data.add_argument(
        "--ground-truth", type=Path, metavar="FILE", help="the class of each image: a line with its path and its class"
    )
    data.add_argument("--skip-broken", action="store_true", help="leave out images that cannot be read")
    data.add_argument("--workers", type=positive_int, metavar="N", help="threads that decode (default: all)")
    judged = parser.add_argument_group("verdict")
    judged.add_argument(
        "--against",
        metavar="BUNDLE",
        help=f"another bundle on the same images, or {PUBLISHED!r}, the paper's figure",
    )
    judged.add_argument(
        "--budget",
        type=share,
        default=DEFAULT_BUDGET,
        metavar="SHARE",
        help="of the reference's top-1 may be lost: 1%% (default), 0.1%%, …",
    )
    running = parser.add_argument_group("run")
    running.add_argument("--engine", choices=ENGINES, help="default: the fastest on this CPU, native or onnxruntime")
    running.add_argument("--threads", type=positive_int, help="of the engine; default: what this process may use")
    results = parser.add_argument_group("results")
    results.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    results.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="keep the result as JSON; an interrupted run goes on there"
    )
    results.add_argument("--overwrite", action="store_true", help="replace an existing result")
    return parser

"""python -m levit_benchmarks.loadgen: MLPerf's own load generator on a bundle, for a short time."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from levit_benchmarks.bench.record import OFFLINE, SCENARIOS
from levit_deploy.commandline import make_parser, positive_int, print_json, print_line, require_packages, run_command
from levit_deploy.errors import ConfigError
from levit_deploy.threads import available_threads
from levit_engines import ENGINES

if TYPE_CHECKING:
    from levit_benchmarks.loadgen.run import LoadGenRun, LoadGenSettings
    from levit_benchmarks.loadgen.summary import LoadGenResult
    from levit_deploy.bundle import Bundle

PROGRAM = "python -m levit_benchmarks.loadgen"
DESCRIPTION = """\
Let MLPerf's LoadGen drive a bundle (extra `loadgen`), for a short time: what it says of the run, in its own words.
What comes of it is not an MLPerf result. Outputs are checked against the bundle's golden logits before and after."""
KIND, SCHEMA_VERSION = "levit loadgen run", 1
DEFAULT_SECONDS = 10.0
LARGEST_DEFAULT_BATCH = 8
PACKAGES = ("levit-deploy", "mlcommons-loadgen", "numpy", "onnxruntime", "openvino", "torch", "tensorrt")


def main(argv: Sequence[str] | None = None) -> int:
    """The console entry point; returns the exit code, 1 where LoadGen calls the run invalid."""
    return run_command(PROGRAM, lambda: _run(_parser().parse_args(argv)))


def _run(arguments: argparse.Namespace) -> int:
    from levit_benchmarks.loadgen.run import EXTRAS, LoadGenSettings, run_loadgen
    from levit_benchmarks.loadgen.summary import VALID
    from levit_deploy.bundle import open_bundle
    from levit_deploy.result_files import require_destination, write_result

    require_packages(EXTRAS, purpose="a run of MLPerf LoadGen")
    if arguments.output is not None:
        require_destination(arguments.output, overwrite=arguments.overwrite)
    if arguments.logs is not None and not (arguments.logs.is_dir() and not any(arguments.logs.iterdir())):
        raise ConfigError(f"--logs {arguments.logs}: needed is an empty folder")
    bundle = open_bundle(arguments.bundle)
    settings = LoadGenSettings(
        scenario=arguments.scenario,
        engine=arguments.engine,
        seconds=arguments.seconds,
        threads=arguments.threads or available_threads(),
        batch=arguments.batch or _batch(arguments.scenario, bundle),
    )
    print_line(f"{PROGRAM}: {settings.seconds:g} s of {settings.scenario} at least, after a pilot")
    temporary = tempfile.TemporaryDirectory(prefix="levit-loadgen-") if arguments.logs is None else None
    with temporary or nullcontext(str(arguments.logs)) as folder:
        done = run_loadgen(bundle, settings, Path(folder).absolute())
    found = _document(done, settings, bundle.path.resolve().name)
    if arguments.output is not None:
        content = (json.dumps(found, indent=1, allow_nan=False) + "\n").encode("ascii")
        write_result(arguments.output, content, overwrite=arguments.overwrite)
    if arguments.json:
        print_json(found)
    else:
        for line in _lines(done, settings, found["label"]):
            print(line)
    return 0 if done.result.validity == VALID else 1


def _batch(scenario: str, bundle: Bundle) -> int:
    sizes = bundle.manifest.batch_sizes
    return max(sizes.minimum, min(sizes.maximum, LARGEST_DEFAULT_BATCH)) if scenario == OFFLINE else 1


def _document(done: LoadGenRun, settings: LoadGenSettings, name: str) -> dict[str, Any]:
    from levit_benchmarks.loadgen.run import NOT_MLPERF
    from levit_benchmarks.machine import environment

    return {
        "kind": KIND,
        "schema_version": SCHEMA_VERSION,
        "label": NOT_MLPERF,
        "environment": environment(PACKAGES),
        "settings": {"bundle": name, **asdict(settings)},
        "loadgen": done.version,
        "engine_version": done.engine_version,
        "precision": done.precision,
        "model_sha256": done.model_sha256,
        "checked": list(done.checked),
        "pilot_ms": done.pilot_ms,
        "result": done.result.to_json(),
    }


def _lines(done: LoadGenRun, settings: LoadGenSettings, label: str) -> Iterator[str]:
    from levit_benchmarks.bench.figures import counted, significant

    result = done.result
    yield f"This is {label}"
    yield (
        f"LoadGen {done.version}; {settings.engine} {done.engine_version}, {done.precision}, "
        f"{counted(settings.threads, 'thread')}, batch {settings.batch}; model {done.model_sha256[:12]}"
    )
    yield from (f"checked: {one}" for one in done.checked)
    yield f"{settings.scenario}, LoadGen calls the run {result.validity}"
    yield from (f"! not satisfied: {one}" for one in result.unsatisfied)
    yield from (f"! LoadGen recommends: {one}" for one in result.recommendations)
    if result.samples_per_s is not None:
        yield f"{significant(result.samples_per_s)} images/s"
        return  # offline is one query: its latency is the length of the run
    for name, value in result.early_stopping_ms.items():
        yield f"p{name:g}, early-stopping estimate: {significant(value)} ms"
    yield "of the samples: " + ", ".join(f"p{name:g} {significant(ms)} ms" for name, ms in _carried(result))


def _carried(result: LoadGenResult) -> list[tuple[float, float]]:
    """Those percentiles that LoadGen could estimate too, and the median: the count carries no others."""
    return [(name, ms) for name, ms in result.percentiles_ms.items() if name <= max((50.0, *result.early_stopping_ms))]


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(PROGRAM, DESCRIPTION, f"{PROGRAM} levit-192-fp32 --scenario offline --seconds 20")
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder that levit-export wrote")
    parser.add_argument("--scenario", choices=SCENARIOS, default=SCENARIOS[0], help="default: %(default)s")
    parser.add_argument("--engine", choices=ENGINES, default=ENGINES[0], help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=DEFAULT_SECONDS, metavar="S", help="default: %(default)g")
    parser.add_argument("--batch", type=positive_int, metavar="N", help="images a call, offline (default: up to 8)")
    parser.add_argument("--threads", type=positive_int, metavar="N", help="default: what this process may use")
    parser.add_argument("--logs", type=Path, metavar="DIR", help="empty folder for LoadGen's log files")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of lines")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="keep the result as JSON")
    parser.add_argument("--overwrite", action="store_true", help="replace what --output finds")
    return parser

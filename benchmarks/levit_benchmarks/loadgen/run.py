"""One run: the golden check, a short pilot that LoadGen's settings follow from, LoadGen, a check of the answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from levit_benchmarks.bench.engine_subject import check_golden
from levit_benchmarks.bench.record import OFFLINE, SCENARIOS
from levit_benchmarks.bench.sampling import run_calls
from levit_benchmarks.bench.statistics import fewest_samples
from levit_benchmarks.loadgen.summary import LoadGenResult, read_summary, read_version
from levit_benchmarks.loadgen.system import SystemUnderTest
from levit_deploy.bundle import Bundle
from levit_deploy.commandline import require_packages
from levit_deploy.errors import ConfigError
from levit_engines import open_runner
from levit_engines.batches import as_input

EXTRAS = {"mlperf_loadgen": "loadgen"}
NOT_MLPERF = (
    "not an MLPerf result: the run is short, on this project's images, and nobody reviewed it; MLPerf asks for 600 s "
    "and more on ImageNet, and reserves its name for reviewed submissions"
)
PILOT_S, PILOT_CALLS = 1.0, 5
OFFLINE_MARGIN = 1.25
"""LoadGen makes up an offline query from the rate it is told to expect, and a run that ends too early is invalid."""
FEWEST_QUERIES = fewest_samples(90.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadGenSettings:
    """One run. `batch` images make up a call; in a single stream that is 1. `min_queries` has no use offline."""

    scenario: str
    engine: str
    seconds: float
    threads: int
    batch: int = 1
    min_queries: int = FEWEST_QUERIES

    def __post_init__(self) -> None:
        if self.scenario not in SCENARIOS:
            raise ConfigError(f"unknown scenario {self.scenario!r}: choose from {', '.join(SCENARIOS)}")
        if not 0 < self.seconds < 24 * 3600:
            raise ConfigError(f"--seconds {self.seconds:g}: needed is a time above 0 and below a day")
        if self.scenario != OFFLINE and self.batch != 1:
            raise ConfigError(f"--batch {self.batch}: a single stream has one image a query; batches are for offline")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadGenRun:
    """What came of it; `pilot_ms` is the median call before it, `checked` what was compared before and after."""

    result: LoadGenResult
    version: str
    engine_version: str
    precision: str
    model_sha256: str
    pilot_ms: float
    checked: tuple[str, ...]


def run_loadgen(bundle: Bundle, settings: LoadGenSettings, folder: Path) -> LoadGenRun:
    """Let LoadGen drive the bundle; it writes its logs to `folder`, which exists.

    Raises:
        EnvironmentIncompleteError: LoadGen is not installed, or the engine cannot run here.
        ConfigError: the bundle does not take the batch.
        ParityError: the outputs are not those of the golden images, before the run or in it.
    """
    require_packages(EXTRAS, purpose="a run of MLPerf LoadGen")
    import mlperf_loadgen

    sizes = bundle.manifest.batch_sizes
    if not sizes.minimum <= settings.batch <= sizes.maximum:
        raise ConfigError(
            f"{bundle.path}: takes batches of {sizes.minimum} to {sizes.maximum}, not of {settings.batch}: "
            "choose another --batch, or export it with levit-export --dynamic-batch"
        )
    with open_runner(bundle, engine=settings.engine, threads=settings.threads) as runner:
        checked = check_golden(runner.infer, bundle, batch=settings.batch, stage=settings.engine)
        pixels = bundle.golden().images
        images = as_input(bundle, pixels[np.arange(settings.batch) % len(pixels)])
        pilot = run_calls(lambda: runner.infer(images), seconds=PILOT_S, count=PILOT_CALLS)
        system = SystemUnderTest(mlperf_loadgen, runner, bundle, settings.batch)
        _drive(mlperf_loadgen, system, _test_settings(mlperf_loadgen, settings, pilot.latencies_ns), folder)
        answered = system.finish(settings.engine)
        return LoadGenRun(
            result=read_summary(folder),
            version=read_version(folder),
            engine_version=runner.provenance["engine_version"],
            precision=runner.precision,
            model_sha256=runner.provenance["model_sha256"],
            pilot_ms=median(pilot.latencies_ns) / 1e6,
            checked=(checked, f"answers of the run: largest error {answered:.1%} of what the bundle allows"),
        )


def _test_settings(loadgen: Any, settings: LoadGenSettings, pilot_ns: tuple[int, ...]) -> Any:
    """LoadGen makes all queries before it starts, from what it is told to expect: too few, and the run is invalid."""
    test = loadgen.TestSettings()
    test.mode = loadgen.TestMode.PerformanceOnly
    test.min_duration_ms = round(1e3 * settings.seconds)
    if settings.scenario == OFFLINE:
        test.scenario = loadgen.TestScenario.Offline
        test.min_query_count = 1
        test.offline_expected_qps = OFFLINE_MARGIN * settings.batch / (median(pilot_ns) / 1e9)
    else:
        test.scenario = loadgen.TestScenario.SingleStream
        test.min_query_count = settings.min_queries
        test.single_stream_expected_latency_ns = max(1, min(pilot_ns) // 2)
    return test


def _drive(loadgen: Any, system: SystemUnderTest, test: Any, folder: Path) -> None:
    output = loadgen.LogOutputSettings()
    output.outdir, output.copy_summary_to_stdout = str(folder), False
    logs = loadgen.LogSettings()
    logs.log_output, logs.enable_trace = output, False
    sut = loadgen.ConstructSUT(system.issue, system.flush)
    library = loadgen.ConstructQSL(system.sample_count, system.sample_count, _nothing, _nothing)
    try:
        # Without a name of ours it would take settings from an audit.config in the current folder.
        loadgen.StartTestWithLogSettings(sut, library, test, logs, str(folder / "no audit.config"))
    finally:
        loadgen.DestroyQSL(library)
        loadgen.DestroySUT(sut)


def _nothing(_: object) -> None:
    """All images are in memory from the start."""

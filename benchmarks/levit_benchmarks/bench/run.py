"""A whole run of levit-bench: limits, groups of candidates in rounds, cold starts, photographs end to end."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from levit_benchmarks.bench.cold_start import measure_cold_starts
from levit_benchmarks.bench.end_to_end import measure_end_to_end
from levit_benchmarks.bench.offline import open_better_crew
from levit_benchmarks.bench.process import OPEN_TIMEOUT_S, Worker
from levit_benchmarks.bench.protocol import PREPARE
from levit_benchmarks.bench.record import OFFLINE, ColdStart, EndToEnd, Group, RunRecord
from levit_benchmarks.bench.rounds import Crew, run_rounds
from levit_benchmarks.bench.settings import Against, BenchSettings
from levit_benchmarks.bench.subject import Order
from levit_benchmarks.machine import environment
from levit_benchmarks.peers.registry import load_peer
from levit_deploy.bundle import Bundle, open_bundle
from levit_deploy.commandline import require_packages
from levit_deploy.errors import ConfigError
from levit_engines import ENGINES
from levit_engines.catalogue import CATALOGUE

PACKAGES = (
    *("levit-deploy", "numpy", "onnxruntime", "onnxruntime-gpu", "openvino", "torch", "tensorrt", "tensorrt-rtx-cu13"),
    *("onnx", "timm", "transformers", "pillow"),
)


class Observer(Protocol):
    """Who is told how far a run is."""

    def advance(self, work: int, description: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The bundles of a run by the name that is shown, in the order in which they were given."""

    settings: BenchSettings
    bundles: dict[str, Bundle]

    def engine_orders(self, batch: int | None) -> list[Order]:
        """Every bundle on every engine; `batch` None is the smallest that the bundle takes."""
        return [
            Order(
                name=f"{name} {engine}",
                threads=self.settings.threads,
                batch=batch or bundle.manifest.batch_sizes.minimum,
                network=network_of(bundle),
                engine=engine,
                bundle=bundle.path,
            )
            for name, bundle in self.bundles.items()
            for engine in self.settings.engines
        ]


def open_run(settings: BenchSettings) -> Opened:
    """The bundles, found fit for what is asked for, before anything is measured.

    Raises:
        BundleError: a bundle is incomplete or altered.
        ConfigError: an engine or a peer is unknown, or a bundle does not take a batch size.
        EnvironmentIncompleteError: a package is missing.
    """
    unknown = [engine for engine in settings.engines if engine not in CATALOGUE]
    if unknown:
        raise ConfigError(f"unknown engine {unknown[0]!r}: choose from {', '.join(ENGINES)}")
    for engine in settings.engines:
        require_packages(CATALOGUE[engine].packages, purpose=f"the engine {engine}")
    for against in settings.against:
        if "." not in against.peer:
            load_peer(against.peer)
    bundles = [open_bundle(path) for path in settings.bundles]
    for bundle in bundles:
        for batch in settings.batches:
            _require_batch(bundle, batch)
    return Opened(settings=settings, bundles=dict(zip(_names(bundles), bundles, strict=True)))


def steps(settings: BenchSettings) -> int:
    """About how many bursts and fresh processes a run has, for a progress display."""
    engines = len(settings.bundles) * len(settings.engines)
    candidates = engines + len(settings.bundles) * len(settings.against)
    bursts = len(settings.batches) * candidates * (settings.rounds + 1)
    processes = settings.cold_starts + bool(settings.cold_starts) + settings.end_to_end
    return bursts + engines * processes


def run_bench(opened: Opened, observer: Observer) -> RunRecord:
    """Measure everything that the settings ask for. Raises LevitError; no process is left behind."""
    from levit_benchmarks.bench.limits import measure_limits

    settings = opened.settings
    precisions = {"fp32", *(bundle.manifest.precision for bundle in opened.bundles.values())}
    limits = measure_limits(settings.threads, sorted(precisions))
    with tempfile.TemporaryDirectory(prefix="levit-bench-") as scratch:
        groups = tuple(_measure_group(opened, batch, Path(scratch), observer) for batch in settings.batches)
    return RunRecord(
        environment=environment(PACKAGES),
        settings=settings.to_json(),
        limits=(limits,),
        groups=groups,
        cold_starts=tuple(_cold_starts(opened, observer)),
        end_to_end=tuple(_end_to_end(opened, observer)),
    )


def network_of(bundle: Bundle) -> str:
    """What its network is called."""
    return f"LeViT-{bundle.manifest.config.arch}"


def _measure_group(opened: Opened, batch: int, scratch: Path, observer: Observer) -> Group:
    settings = opened.settings
    with ExitStack() as stack:

        def hire(order: Order) -> Crew:
            observer.advance(1, f"batch {batch}: opening {order.name}")
            offline = settings.scenario == OFFLINE
            return stack.enter_context(open_better_crew(order, settings.burst) if offline else Crew(order, 1))

        crews = [hire(order) for order in opened.engine_orders(batch)]
        for against in settings.against:
            crews += _peer_crews(opened, against, batch, scratch, hire)
        rounds = run_rounds(
            crews,
            rounds=settings.rounds,
            length=settings.burst,
            on_burst=lambda name: observer.advance(1, f"batch {batch}: {name}"),
        )
        return Group(
            scenario=settings.scenario,
            batch=batch,
            threads=settings.threads,
            baseline=crews[0].name,
            candidates=tuple(crew.candidate for crew in crews),
            sessions={crew.name: crew.sessions for crew in crews},
            peak_rss_bytes={crew.name: crew.peak_rss_bytes() for crew in crews},
            rounds=rounds,
        )


def _peer_crews(
    opened: Opened, against: Against, batch: int, scratch: Path, hire: Callable[[Order], Crew]
) -> Iterator[Crew]:
    """One for every bundle, or a single one where the peer runs a network of its own."""
    settings = opened.settings
    options = {"engine": against.engine} if against.engine else {}
    if settings.checkpoint is not None:
        options["checkpoint"] = str(settings.checkpoint.absolute())
    for name, bundle in opened.bundles.items():
        folder = Path(tempfile.mkdtemp(dir=scratch))
        order = Order(
            name=against.text if len(opened.bundles) == 1 else f"{against.text} {name}",
            threads=settings.threads,
            batch=batch,
            network=network_of(bundle),
            bundle=bundle.path,
            peer=against.peer,
            folder=folder,
            options=options,
        )
        with Worker(order, PREPARE) as worker:
            worker.reply(OPEN_TIMEOUT_S)
        crew = hire(order)
        if crew.candidate.network != order.network:
            crew.candidate = replace(crew.candidate, name=against.text)
            yield crew
            return
        yield crew


def _cold_starts(opened: Opened, observer: Observer) -> Iterator[ColdStart]:
    count = opened.settings.cold_starts
    for order in opened.engine_orders(None) if count else ():
        yield measure_cold_starts(order, count, on_start=lambda: observer.advance(1, "cold starts"))


def _end_to_end(opened: Opened, observer: Observer) -> Iterator[EndToEnd]:
    for order in opened.engine_orders(None) if opened.settings.end_to_end else ():
        yield from measure_end_to_end(order)
        observer.advance(1, f"photographs: {order.name}")


def _names(bundles: Sequence[Bundle]) -> list[str]:
    """What tells the bundles apart: the names of their folders, or their paths where those are equal."""
    names = [bundle.path.resolve().name for bundle in bundles]
    return names if len(set(names)) == len(names) else [str(bundle.path) for bundle in bundles]


def _require_batch(bundle: Bundle, batch: int) -> None:
    sizes = bundle.manifest.batch_sizes
    if not sizes.minimum <= batch <= sizes.maximum:
        taken = f"batches of {sizes.minimum} to {sizes.maximum}" if sizes.dynamic else f"a batch of {sizes.minimum}"
        raise ConfigError(
            f"{bundle.path}: takes {taken} only, --batch {batch} is asked for: "
            f"export it with levit-export --dynamic-batch 1:{max(batch, sizes.maximum)}"
        )

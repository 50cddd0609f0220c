"""A whole run of levit-bench: limits, groups of candidates in rounds, cold starts, photographs end to end."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from levit_benchmarks.bench.cold_start import measure_cold_starts
from levit_benchmarks.bench.end_to_end import measure_end_to_end
from levit_benchmarks.bench.offline import open_best_crew
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
from levit_deploy.errors import ConfigError, LevitError
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
    require_engines(settings.engines)
    for against in settings.against:
        if "." not in against.peer:
            peer = load_peer(against.peer)
            require_packages(dict.fromkeys(peer.packages, "bench"), purpose=f"the peer {peer.name}")
    bundles = [open_bundle(path) for path in settings.bundles]
    for bundle in bundles:
        for batch in settings.batches:
            _require_batch(bundle, batch)
    return Opened(settings=settings, bundles=dict(zip(_names(bundles), bundles, strict=True)))


def require_engines(names: Sequence[str]) -> None:
    """Raise ConfigError for an engine that there is not, EnvironmentIncompleteError for one that is not installed."""
    unknown = [name for name in names if name not in CATALOGUE]
    if unknown:
        raise ConfigError(f"unknown engine {unknown[0]!r}: choose from {', '.join(ENGINES)}")
    for name in names:
        require_packages(CATALOGUE[name].packages, purpose=f"the engine {name}")


def steps(settings: BenchSettings) -> int:
    """About how many bursts and fresh processes a run has, for a progress display."""
    engines = len(settings.bundles) * len(settings.engines)
    candidates = engines + len(settings.bundles) * len(settings.against)
    bursts = len(settings.batches) * candidates * (settings.rounds + min(settings.processes, settings.rounds))
    starts = settings.cold_starts + bool(settings.cold_starts)
    return bursts + candidates * starts + engines * settings.end_to_end


def run_bench(opened: Opened, observer: Observer) -> RunRecord:
    """Measure everything that the settings ask for. Raises LevitError; no process is left behind.

    Whatever cannot be opened, or answers wrongly, is left out and said to have failed; the baseline has to stand.
    """
    from levit_benchmarks.bench.limits import measure_limits

    settings, failed = opened.settings, dict[str, str]()
    precisions = {"fp32", *(bundle.manifest.precision for bundle in opened.bundles.values())}
    limits = measure_limits(settings.threads, sorted(precisions))
    with tempfile.TemporaryDirectory(prefix="levit-bench-") as scratch:
        peers = _Peers(opened, Path(scratch))
        groups = tuple(_measure_group(opened, peers, batch, failed, observer) for batch in settings.batches)
        cold_starts = tuple(_cold_starts(opened, peers, failed, observer)) if settings.cold_starts else ()
    return RunRecord(
        environment=environment(PACKAGES),
        settings=settings.to_json(),
        limits=(limits,),
        groups=groups,
        cold_starts=cold_starts,
        end_to_end=tuple(_end_to_end(opened, failed, observer)) if settings.end_to_end else (),
        failed=failed,
    )


def network_of(bundle: Bundle) -> str:
    """What its network is called."""
    return f"LeViT-{bundle.manifest.config.arch}"


class _Peers:
    """The orders of peers, each prepared once for a batch size."""

    def __init__(self, opened: Opened, scratch: Path) -> None:
        self._opened, self._scratch = opened, scratch
        self._folders: dict[tuple[Against, str, int], Path] = {}

    def orders(self, against: Against, batch: int | None) -> Iterator[Order]:
        """One for every network: bundles of the same weights share it, under the name of the first of them.

        `batch` None is the smallest that the bundle takes. Nothing is prepared yet.
        """
        settings = self._opened.settings
        options = {"engine": against.engine} if against.engine else {}
        if settings.checkpoint is not None:
            options["checkpoint"] = str(settings.checkpoint.absolute())
        for name, bundle in self._first_of_each_network().items():
            yield Order(
                name=against.text if len(self._opened.bundles) == 1 else f"{against.text} {name}",
                threads=settings.threads,
                batch=batch or bundle.manifest.batch_sizes.minimum,
                network=network_of(bundle),
                bundle=bundle.path,
                peer=against.peer,
                options=options,
            )

    def _first_of_each_network(self) -> dict[str, Bundle]:
        first: dict[tuple[object, ...], str] = {}
        for name, bundle in self._opened.bundles.items():
            manifest = bundle.manifest
            weights = manifest.weights.get("state_sha256", name)
            first.setdefault((manifest.config, weights, manifest.batch_sizes.minimum), name)
        return {name: self._opened.bundles[name] for name in first.values()}

    def prepared(self, against: Against, order: Order) -> Order:
        """The order with a folder that holds what the peer needs. Raises what its preparation raises."""
        key = (against, order.name, order.batch)
        if key not in self._folders:
            folder = Path(tempfile.mkdtemp(dir=self._scratch))
            with Worker(replace(order, folder=folder), PREPARE) as worker:
                worker.reply(OPEN_TIMEOUT_S)
            self._folders[key] = folder
        return replace(order, folder=self._folders[key])


def _measure_group(opened: Opened, peers: _Peers, batch: int, failed: dict[str, str], observer: Observer) -> Group:
    settings = opened.settings
    with ExitStack() as stack:

        def hire(order: Order) -> Crew:
            observer.advance(1, f"batch {batch}: opening {order.name}")
            offline = settings.scenario == OFFLINE
            return stack.enter_context(open_best_crew(order, settings.burst) if offline else Crew(order, 1))

        baseline, *others = opened.engine_orders(batch)
        crews = [hire(baseline)]
        for order in others:
            with _noting(failed, f"{order.name} ({settings.scenario}, batch {batch})"):
                crews.append(hire(order))
        for against in settings.against:
            for order in peers.orders(against, batch):
                with _noting(failed, f"{order.name} ({settings.scenario}, batch {batch})"):
                    crew = hire(peers.prepared(against, order))
                    crews.append(crew)
                    if crew.candidate.network != order.network:  # it has a network of its own: once is enough
                        crew.candidate = replace(crew.candidate, name=against.text)
                        break
        rounds = run_rounds(
            crews,
            rounds=settings.rounds,
            length=settings.burst,
            processes=settings.processes,
            on_step=lambda name: observer.advance(1, f"batch {batch}: {name}"),
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


def _cold_starts(opened: Opened, peers: _Peers, failed: dict[str, str], observer: Observer) -> Iterator[ColdStart]:
    count = opened.settings.cold_starts

    def measure(order: Order) -> ColdStart:
        return measure_cold_starts(order, count, on_start=lambda: observer.advance(1, f"cold start: {order.name}"))

    for order in opened.engine_orders(None):
        with _noting(failed, f"{order.name} (cold start)"):
            yield measure(order)
    for against in opened.settings.against:
        for order in peers.orders(against, None):
            with _noting(failed, f"{order.name} (cold start)"):
                cold = measure(peers.prepared(against, order))
                if cold.candidate.network != order.network:
                    yield replace(cold, candidate=replace(cold.candidate, name=against.text))
                    break
                yield cold


def _end_to_end(opened: Opened, failed: dict[str, str], observer: Observer) -> Iterator[EndToEnd]:
    for order in opened.engine_orders(None):
        with _noting(failed, f"{order.name} (end to end)"):
            yield from measure_end_to_end(order)
        observer.advance(1, f"photographs: {order.name}")


@contextmanager
def _noting(failed: dict[str, str], what: str) -> Iterator[None]:
    """What fails within is noted, and does not end the run: hours of others' figures would be lost with it."""
    try:
        yield
    except LevitError as error:
        failed[what] = str(error)


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

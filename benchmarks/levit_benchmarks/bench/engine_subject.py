"""A bundle on one of our engines, opened and proven: what a worker times where no peer is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from levit_benchmarks.bench.record import Candidate
from levit_benchmarks.bench.subject import Order
from levit_deploy.bundle import MODEL, Bundle, open_bundle
from levit_deploy.errors import ConfigError
from levit_deploy.golden import PHOTOGRAPHS, golden_images
from levit_deploy.parity import Rung, compare_logits
from levit_engines import open_runner
from levit_engines.batches import as_input
from levit_engines.bundle_runner import BundleRunner
from levit_engines.catalogue import CATALOGUE


class EngineSubject:
    """See `levit_benchmarks.bench.subject.Subject`."""

    def __init__(self, order: Order) -> None:
        """Open the engine. Raises what `levit_engines.open_runner` raises."""
        self._order, self._bundle = order, bundle_of(order)
        self._runner = open_runner(self._bundle, engine=order.engine, threads=order.threads)

    def check(self) -> Candidate:
        """What is timed, and how it was checked. Raises ParityError, as `candidate_of` does."""
        return candidate_of(self._order, self._runner, self._bundle)

    def images(self) -> NDArray[Any]:
        """The photographs that travel with the package, as often as the batch needs."""
        contract = self._bundle.manifest.preprocessing
        _, pixels = golden_images(contract)
        return as_input(self._bundle, pixels[np.arange(self._order.batch) % len(PHOTOGRAPHS)])

    def infer(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Logits (B, K)."""
        return self._runner.infer(images)

    @property
    def side_by_side(self) -> bool:
        """See `levit_engines.catalogue.Engine`."""
        return CATALOGUE[self._order.engine].side_by_side and self._order.threads == 1

    def gpu_ns(self) -> int | None:
        """See `levit_engines.bundle_runner.BundleRunner.gpu_ns`."""
        return self._runner.gpu_ns

    def close(self) -> None:
        """Free the engine."""
        self._runner.close()


def bundle_of(order: Order) -> Bundle:
    """The bundle that `order` names; ConfigError when it names none."""
    if order.bundle is None:
        raise ConfigError(f"{order.name}: an engine needs a bundle")
    return open_bundle(order.bundle)


def import_engine(engine: str) -> None:
    """Load the library of `engine` and nothing of the bundle. Raises EnvironmentIncompleteError or ImportError."""
    importlib.import_module(CATALOGUE[engine].module)
    if "onnxruntime" in CATALOGUE[engine].packages:
        from levit_deploy.onnxruntime_session import import_onnxruntime

        import_onnxruntime()
    elif engine == "openvino":
        from levit_engines.openvino.library import import_openvino

        import_openvino()
    else:
        for package in CATALOGUE[engine].packages:
            importlib.import_module(package)


def candidate_of(order: Order, runner: BundleRunner, bundle: Bundle) -> Candidate:
    """What `runner` is, once it has reproduced the golden logits at the order's batch size; ParityError if not."""
    manifest, provenance = bundle.manifest, dict(runner.provenance)
    checked = check_golden(runner.infer, bundle, batch=order.batch, stage=order.engine)
    notes = {f"note {number}": note for number, note in enumerate(runner.notes, start=1)}
    kept = {key: value for key, value in provenance.items() if key not in ("engine", "engine_version", "bundle")}
    sizes = manifest.batch_sizes
    batch = f"dynamic, {sizes.minimum} to {sizes.maximum}" if sizes.dynamic else "static"
    return Candidate(
        name=order.name,
        network=order.network,
        engine=order.engine,
        engine_version=provenance["engine_version"],
        precision=runner.precision,
        image_size=manifest.config.image_size,
        macs=manifest.config.mac_count(),
        timed_sha256=timed_sha256(bundle, order.engine, provenance.get("graph")),
        checked=checked,
        details={
            **kept,
            "batch": batch,
            "device": runner.device,
            "weights": str(manifest.weights.get("origin", "unknown")),
            **notes,
        },
    )


def timed_sha256(bundle: Bundle, engine: str, graph: str | None) -> str:
    """The hash of the file that runs: of the built engine where that is what was opened, else of the graph."""
    entry = bundle.manifest.engines.get(engine)
    file = graph or (entry.files[0] if entry is not None and CATALOGUE[engine].needs_building else MODEL)
    return bundle.manifest.members[file].sha256


def check_golden(
    infer: Callable[[NDArray[Any]], NDArray[np.float32]], bundle: Bundle, *, batch: int, stage: str
) -> str:
    """Run every golden image, `batch` at a time; what was shown. Raises ParityError, with the figures."""
    pixels = bundle.golden().images
    inputs, count = as_input(bundle, pixels), len(pixels)
    rows = np.arange(-(-count // batch) * batch) % count  # in whole batches: the last one starts again from the first
    logits = np.concatenate([infer(inputs[some]) for some in rows.reshape(-1, batch)])
    rung = require_golden(bundle, rows.tolist(), logits, batch=batch, stage=stage)
    return (
        f"{count} golden images at batch {batch} against float64: "
        f"largest error {rung.bound_share:.1%} of what the bundle allows"
    )


def require_golden(bundle: Bundle, rows: Sequence[int], logits: NDArray[np.float32], *, batch: int, stage: str) -> Rung:
    """`logits` of the golden images `rows` beside the truth; ParityError where they are further off than allowed."""
    rung = Rung(
        stage=stage,
        batch_size=batch,
        images=tuple(rows),
        comparison=compare_logits(bundle.golden().logits[list(rows)], logits),
        bounds=tuple(bundle.manifest.golden_tolerance[row] for row in rows),
    )
    rung.require()
    return rung

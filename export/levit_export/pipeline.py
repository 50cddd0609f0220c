"""checkpoint -> fused network -> ONNX -> simplified graph -> proof -> bundle; any failure leaves no bundle."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import onnx
import torch

from levit_deploy.bundle import Bundle, refuse_existing, write_bundle
from levit_deploy.errors import ConfigError, ExportError, ParityError
from levit_deploy.fusion import fuse
from levit_deploy.labels import labels_for
from levit_deploy.model import Levit
from levit_deploy.parity import Rung
from levit_deploy.preprocessing import preprocessing_for
from levit_export.forms.convolutions import convolution_form
from levit_export.loading import load_weights
from levit_export.packing import Ingredients, bundle_contents, stamp
from levit_export.request import ExportRequest, Target
from levit_export.simplification import Simplification, simplify
from levit_export.tracing import DeployedNetwork, trace
from levit_export.verification import (
    Truth,
    infer_eagerly,
    infer_with_onnxruntime,
    measure,
    sizes_to_verify,
    truth_of,
    worst_error,
)

STAGES = ("load", "fuse", "trace", "simplify", "verify", "write")


@dataclass(frozen=True, slots=True, kw_only=True)
class StageReport:
    """One stage of an export; `max_abs_error` is of its result against float64, None where it computes nothing."""

    name: str
    seconds: float
    detail: str = ""
    nodes: int | None = None
    size_bytes: int | None = None
    max_abs_error: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """A finished export: the bundle, its stages in order, the parity ladder, and sentences for the user."""

    bundle: Bundle
    stages: tuple[StageReport, ...]
    rungs: tuple[Rung, ...]
    notes: tuple[str, ...]


class Observer(Protocol):
    """Who is told, as it happens, which stage runs; a progress display, for example."""

    def started(self, name: str) -> None: ...

    def finished(self, name: str, seconds: float) -> None: ...


def export(request: ExportRequest) -> Bundle:
    """Export, verify and write a bundle; see `run_export` for what is raised."""
    return run_export(request).bundle


def run_export(request: ExportRequest, observer: Observer | None = None) -> ExportReport:
    """Export, verify and write a bundle, and report on every stage.

    Raises:
        ConfigError: options contradict each other, or the output exists.
        CheckpointError: the checkpoint cannot be used.
        ExportError: the graph breaks a promise.
        ParityError: a stage is further from float64 than rounding explains.
        EnvironmentIncompleteError: a package is missing, or a download is not possible.
    """
    if request.output is not None:
        refuse_existing(request.output, overwrite=request.overwrite)
    clock = _StageClock(observer)
    with clock.stage("load"):
        weights = load_weights(request)
        config = weights.model.config
        name = f"levit-{config.arch}-{request.precision.value}"
        output = request.output or Path(name)
        refuse_existing(output, overwrite=request.overwrite)
        labels, labels_provenance = labels_for(config.num_classes, request.labels)
        if request.top_k is not None and request.top_k > config.num_classes:
            raise ConfigError(f"--top-k {request.top_k}: the network has {config.num_classes} classes")
        contract = preprocessing_for(
            weights.origin, config.image_size, apply_exif_orientation=request.apply_exif_orientation
        )
        batch_sizes = sizes_to_verify(*request.batch)
    with clock.stage("fuse"):
        fused = fuse(weights.model)
    ingredients = Ingredients(
        name=name,
        request=request,
        weights=weights,
        contract=contract,
        batch_sizes=batch_sizes,
        labels=labels,
        labels_provenance=labels_provenance,
    )
    with clock.stage("trace"):
        network = DeployedNetwork(
            convolution_form(fused) if request.target is Target.CPU else fused,
            pixels=contract if request.uint8_input else None,
            top_k=request.top_k,
        )
        traced = trace(network, _example(ingredients), batch_sizes=batch_sizes, opset=request.opset)
        stamp(traced, ingredients)
    with clock.stage("simplify"):
        simplification = _simplify(traced, ingredients)
    with clock.stage("verify"):
        truth = truth_of(weights.model, contract)
        rungs, simplification = _verify(weights.model, fused, traced, simplification, truth, ingredients)
    with clock.stage("write"):
        manifest, members = bundle_contents(ingredients, simplification, truth, rungs)
        bundle = write_bundle(output, manifest, members, overwrite=request.overwrite)
    graphs = {"trace": traced, "simplify": simplification.model if simplification.kept else None}
    details = {"trace": request.target.value, "simplify": simplification.reason}
    return ExportReport(bundle=bundle, stages=clock.reports(graphs, details, rungs), rungs=rungs, notes=weights.notes)


def _example(ingredients: Ingredients) -> torch.Tensor:
    """An input to trace with; of a dynamic batch not size 1, which torch.export would take for a constant."""
    minimum, maximum = ingredients.batch_sizes.minimum, ingredients.batch_sizes.maximum
    batch, side = min(max(minimum, 2), maximum), ingredients.contract.image_size
    if ingredients.request.uint8_input:
        return torch.zeros(batch, side, side, 3, dtype=torch.uint8)
    return torch.zeros(batch, 3, side, side)


def _simplify(traced: onnx.ModelProto, ingredients: Ingredients) -> Simplification:
    if not ingredients.request.simplify:
        return Simplification(traced, kept=False, reason="not asked for (--no-simplify)")
    simplification = simplify(traced, static=not ingredients.batch_sizes.dynamic)
    if simplification.kept:
        stamp(simplification.model, ingredients)
    return simplification


def _verify(
    model: Levit,
    fused: Levit,
    traced: onnx.ModelProto,
    simplification: Simplification,
    truth: Truth,
    ingredients: Ingredients,
) -> tuple[tuple[Rung, ...], Simplification]:
    """The ladder, every rung of which holds, and the simplified graph if it held too.

    Raises ParityError for the first rung that does not hold. A simplified graph that does not hold, or that ONNX
    Runtime refuses, is dropped with that as its reason: the traced graph is there.
    """
    sizes, pixels = ingredients.batch_sizes, ingredients.request.uint8_input
    rungs = [
        *_required(measure("eager fp32", infer_eagerly(model), truth, sizes)),
        *_required(measure("fused", infer_eagerly(fused), truth, sizes)),
        *_required(measure("traced", infer_with_onnxruntime(traced), truth, sizes, pixels=pixels)),
    ]
    if simplification.kept:
        try:
            infer = infer_with_onnxruntime(simplification.model)
            rungs += _required(measure("simplified", infer, truth, sizes, pixels=pixels))
        except (ExportError, ParityError) as error:
            simplification = Simplification(traced, kept=False, reason=f"onnxsim's result was not kept: {error}")
    return tuple(rungs), simplification


def _required(rungs: Sequence[Rung]) -> Sequence[Rung]:
    for rung in rungs:
        rung.require()
    return rungs


RUNG_OF_STAGE = {"load": "eager fp32", "fuse": "fused", "trace": "traced", "simplify": "simplified"}


class _StageClock:
    """Times the stages and tells the observer."""

    def __init__(self, observer: Observer | None) -> None:
        self._observer = observer
        self._seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        if self._observer is not None:
            self._observer.started(name)
        start_s = time.perf_counter()
        yield
        self._seconds[name] = time.perf_counter() - start_s
        if self._observer is not None:
            self._observer.finished(name, self._seconds[name])

    def reports(
        self, graphs: dict[str, onnx.ModelProto | None], details: dict[str, str], rungs: Sequence[Rung]
    ) -> tuple[StageReport, ...]:
        reports = []
        for name, seconds in self._seconds.items():
            report = StageReport(name=name, seconds=seconds, detail=details.get(name, ""))
            graph = graphs.get(name)
            if graph is not None:
                report = replace(report, nodes=len(graph.graph.node), size_bytes=graph.ByteSize())
            measured = [rung for rung in rungs if rung.stage == RUNG_OF_STAGE.get(name)]
            if measured:
                report = replace(report, max_abs_error=worst_error(measured))
            reports.append(report)
        return tuple(reports)

"""checkpoint -> fused network -> ONNX -> simplified graph -> proof -> bundle; any failure leaves no bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from levit_deploy.arithmetic import ARITHMETICS, FP32, Arithmetic
from levit_deploy.bundle import Bundle, refuse_existing, write_bundle
from levit_deploy.errors import ConfigError, ExportError, ParityError
from levit_deploy.fusion import fuse
from levit_deploy.golden import golden_images
from levit_deploy.labels import labels_for
from levit_deploy.ladder import Candidate, Measured, Truth, measure, require
from levit_deploy.manifest import BatchSizes
from levit_deploy.metamorphic import batch_suite, require_checks
from levit_deploy.model import Levit
from levit_deploy.parity import Rung
from levit_deploy.preprocessing import Preprocessing, normalize, preprocessing_for
from levit_deploy.probes import probes_of
from levit_deploy.progress import Observer, StageClock
from levit_deploy.quantization_noise import QuantizedLayer
from levit_deploy.reference import EagerCandidate, truth_of
from levit_export.batch_sizes import sizes_to_verify
from levit_export.forms.convolutions import convolution_form
from levit_export.forms.packed import moved_rows, packed_form
from levit_export.graph_candidate import GraphCandidate, graph_as_written
from levit_export.loading import load_weights
from levit_export.packing import Ingredients, Made, Proof, bundle_contents, stamp
from levit_export.precision.calibration import CalibrationSet, read_calibration
from levit_export.precision.half import DTYPES, CastRecord, cast_network, island_around
from levit_export.precision.integers import Quantization, Quantizer
from levit_export.precision.ranges import IMAGES_AT_ONCE
from levit_export.precision.sensitivity import Budget, OnProgress, Search, search
from levit_export.request import ATTENTION_OPSET, ExportRequest, Form, Precision, form_of
from levit_export.simplification import Simplification, simplify
from levit_export.tracing import DeployedNetwork, trace

MOST_ISLANDS = 8
"""A network that needs more float32 branches than this is not one for the precision."""


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


def export(request: ExportRequest) -> Bundle:
    """Export, verify and write a bundle; see `run_export` for what is raised."""
    return run_export(request).bundle


def run_export(
    request: ExportRequest, observer: Observer | None = None, on_progress: OnProgress = lambda *_: None
) -> ExportReport:
    """Export, verify and write a bundle, and report on every stage; on_progress is told how far quantising is.

    Raises:
        ConfigError: options contradict each other, or the output exists.
        ImageError: an image to calibrate with cannot be read, or there is none.
        CheckpointError: the checkpoint cannot be used.
        ExportError: the graph breaks a promise.
        ParityError: a stage is further from float64 than rounding explains.
        EnvironmentIncompleteError: a package is missing, or a download is not possible.
    """
    if request.output is not None:
        refuse_existing(request.output, overwrite=request.overwrite)
    clock = StageClock(observer)
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
        calibration = None if request.calibration is None else read_calibration(request.calibration, contract)
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
    gate = _Gate(weights.model, fused, ingredients)
    islands: tuple[str, ...] = ()
    while True:
        with clock.stage("trace"):
            traced, cast = cast_and_trace(fused, request, contract, batch_sizes, islands)
            stamp(traced, ingredients)
        with clock.stage("simplify"):
            simplification = _simplify(traced, ingredients)
        found, quantization = None, None
        if calibration is not None:
            with clock.stage("quantize"):
                found = _quantize(simplification.model, fused, calibration, ingredients, on_progress)
                quantization = found.quantization
        try:
            with clock.stage("verify"):
                proof, simplification = gate.verify(traced, simplification, quantization)
            break
        except ParityError as error:
            islands = _one_more(islands, error, request.float_precision)
    with clock.stage("write"):
        made = Made(simplification=simplification, cast=cast, search=found, calibration=calibration)
        manifest, members = bundle_contents(ingredients, made, gate.truth, proof)
        bundle = write_bundle(output, manifest, members, overwrite=request.overwrite)
    graphs = {
        "trace": traced,
        "simplify": simplification.model if simplification.kept else None,
        "quantize": None if quantization is None else quantization.model,
    }
    details = {"trace": request.target.value, "simplify": simplification.reason}
    if found is not None:
        details["quantize"] = found.sentence()
    return ExportReport(
        bundle=bundle,
        stages=_stage_reports(clock.seconds, graphs, details, proof.rungs),
        rungs=proof.rungs,
        notes=(*weights.notes, *(() if calibration is None else calibration.notes)),
    )


def trace_network(
    fused: Levit, request: ExportRequest, contract: Preprocessing, batch_sizes: BatchSizes
) -> onnx.ModelProto:
    """The graph of `cast_and_trace`, nothing left in float32. Raises ExportError when it breaks a promise."""
    return cast_and_trace(fused, request, contract, batch_sizes)[0]


def cast_and_trace(
    fused: Levit,
    request: ExportRequest,
    contract: Preprocessing,
    batch_sizes: BatchSizes,
    islands: Sequence[str] = (),
) -> tuple[onnx.ModelProto, CastRecord | None]:
    """The ONNX graph of `fused` in the form of the request's target, and what the cast to its precision did.

    In half precision the branches named in `islands` stay in float32; integers come later. Raises ExportError when
    the graph breaks a promise, or a weight is beyond the precision.
    """
    form, cast, precision = _form_of(fused, request, islands), None, request.float_precision
    if precision in DTYPES:
        form, cast = cast_network(form, precision, islands)
    network = DeployedNetwork(
        form,
        pixels=contract if request.uint8_input else None,
        top_k=request.top_k,
        dtype=DTYPES.get(precision, torch.float32),
    )
    example = _example(contract.image_size, batch_sizes, pixels=request.uint8_input)
    return trace(network, example, batch_sizes=batch_sizes, opset=request.opset_version), cast


def _form_of(fused: Levit, request: ExportRequest, islands: Sequence[str]) -> nn.Module:
    match form_of(request):
        case Form.CONVOLUTIONS:
            return convolution_form(fused)
        case Form.PACKED:
            return packed_form(fused, operator=request.opset_version >= ATTENTION_OPSET, spelled_out=islands)
        case Form.TOKENS:
            return fused


def _one_more(islands: tuple[str, ...], error: ParityError, precision: Precision) -> tuple[str, ...]:
    """The branches to keep in float32, now that `error` names a module that half precision breaks; or raise it."""
    island = None if error.module is None else island_around(error.module)
    if precision not in DTYPES or island is None or island in islands or len(islands) == MOST_ISLANDS:
        raise error
    return (*islands, island)


def _example(side: int, batch_sizes: BatchSizes, *, pixels: bool) -> torch.Tensor:
    """An input to trace with; of a dynamic batch not size 1, which torch.export would take for a constant."""
    batch = min(max(batch_sizes.minimum, 2), batch_sizes.maximum)
    if pixels:
        return torch.zeros(batch, side, side, 3, dtype=torch.uint8)
    return torch.zeros(batch, 3, side, side)


def _simplify(traced: onnx.ModelProto, ingredients: Ingredients) -> Simplification:
    if not ingredients.request.simplify:
        return Simplification(traced, kept=False, reason="not asked for (--no-simplify)")
    simplification = simplify(traced, static=not ingredients.batch_sizes.dynamic)
    if simplification.kept:
        stamp(simplification.model, ingredients)
    return simplification


def _quantize(
    model: onnx.ModelProto,
    fused: Levit,
    calibration: CalibrationSet,
    ingredients: Ingredients,
    on_progress: OnProgress,
) -> Search:
    request, sizes = ingredients.request, ingredients.batch_sizes
    images = normalize(calibration.pixels, ingredients.contract)
    inputs = calibration.pixels if request.uint8_input else images
    size = min(max(sizes.minimum, IMAGES_AT_ONCE), sizes.maximum)
    order = np.minimum(np.arange(-(-len(inputs) // size) * size), len(inputs) - 1)  # the last image fills up
    batches = [inputs[rows] for rows in np.split(order, len(order) // size)]

    def logits_of(quantization: Quantization | None) -> NDArray[np.float32]:
        graph = model if quantization is None else quantization.model
        candidate = GraphCandidate("quantised", graph, (), optimized=True)
        return np.concatenate([candidate.infer(batch) for batch in batches])[: len(inputs)]

    budget = Budget(min_sqnr_db=request.min_sqnr_db, max_flips=request.max_flips)
    quantizer = Quantizer(model, batches, request.calibration_method, target=request.target, moved=moved_rows(fused))
    found = search(quantizer, fused, images, budget, logits_of, on_progress)
    stamp(found.quantization.model, ingredients)
    return found


class _Gate:
    """What every graph of one export has to pass: the ladder and the batch suite."""

    def __init__(self, model: Levit, fused: Levit, ingredients: Ingredients) -> None:
        self._model, self._fused, self._ingredients = model, fused, ingredients
        self._precision = ingredients.request.float_precision
        self._exact: Truth | None = None
        self._cast: Truth | None = None
        self._own: Truth | None = None

    @property
    def truth(self) -> Truth:
        """The truth, with the bounds of the export's own precision; known once a graph was verified."""
        assert self._own is not None
        return self._own

    def verify(
        self, traced: onnx.ModelProto, simplification: Simplification, quantization: Quantization | None
    ) -> tuple[Proof, Simplification]:
        """The ladder and the batch suite, all of which hold, and the simplified graph if it held too.

        Raises ParityError for the first stage or check that does not hold. A simplified graph that does not hold, or
        that ONNX Runtime refuses, is dropped with that as its reason: the traced graph is there.
        """
        exact = self._exact = self._exact or self._truth_in(FP32)
        arithmetic = ARITHMETICS[self._precision.value]
        cast = self._cast = self._cast or (exact if arithmetic is FP32 else self._truth_in(arithmetic))
        if quantization is not None:
            self._own = self._truth_in(arithmetic, quantization.layers)
        truth = self._own = self._own or cast
        probes = probes_of(self._model.config)
        climb = _Climb(self._ingredients.batch_sizes.verified)
        climb.step(EagerCandidate(stage="eager fp32", model=self._model), exact)
        climb.step(EagerCandidate(stage="fused", model=self._fused), exact)
        written = graph_as_written("traced", traced, probes)
        climb.step(written, cast)
        if simplification.kept:
            try:
                written = graph_as_written("simplified", simplification.model, probes)
                climb.step(written, cast)
            except (ExportError, ParityError) as error:
                if quantization is not None:
                    raise
                simplification = Simplification(traced, kept=False, reason=f"onnxsim's result was not kept: {error}")
        model = simplification.model
        if quantization is not None:
            model = quantization.model
            written = graph_as_written("quantised", model, probes)
            climb.step(written, truth)
        engine = written
        if self._precision is not Precision.BF16:  # which ONNX Runtime's CPU provider has no kernels for
            engine = GraphCandidate("onnxruntime", model, probes, optimized=True)
            climb.step(engine, truth)
        inputs = truth.inputs(pixels=engine.takes_pixels)
        checks = batch_suite(engine.infer, inputs, truth.bounds, self._ingredients.batch_sizes.verified)
        require_checks(checks)
        return Proof(rungs=climb.rungs, batch_checks=checks), simplification

    def _truth_in(self, arithmetic: Arithmetic, layers: Mapping[str, QuantizedLayer] | None = None) -> Truth:
        contract = self._ingredients.contract
        return truth_of(self._model, *golden_images(contract), contract, arithmetic=arithmetic, layers=layers)


class _Climb:
    """Goes up the ladder, a stage at a time, each compared with the one before."""

    def __init__(self, batch_sizes: Sequence[int]) -> None:
        self.rungs: tuple[Rung, ...] = ()
        self._batch_sizes = batch_sizes
        self._previous: Measured | None = None

    def step(self, candidate: Candidate, truth: Truth) -> None:
        """Measure `candidate`; raises ParityError, with the module at fault, unless it holds."""
        measured = measure(candidate, truth, self._batch_sizes, self._previous)
        require(candidate, truth, measured)
        self.rungs += measured.rungs
        self._previous = measured


RUNG_OF_STAGE = {
    "load": "eager fp32",
    "fuse": "fused",
    "trace": "traced",
    "simplify": "simplified",
    "quantize": "quantised",
    "verify": "onnxruntime",
}


def _stage_reports(
    seconds: Mapping[str, float],
    graphs: Mapping[str, onnx.ModelProto | None],
    details: Mapping[str, str],
    rungs: Sequence[Rung],
) -> tuple[StageReport, ...]:
    reports = []
    for name, duration_s in seconds.items():
        report = StageReport(name=name, seconds=duration_s, detail=details.get(name, ""))
        graph = graphs.get(name)
        if graph is not None:
            report = replace(report, nodes=len(graph.graph.node), size_bytes=graph.ByteSize())
        errors = [rung.comparison.max_abs_error for rung in rungs if rung.stage == RUNG_OF_STAGE.get(name)]
        if errors:
            report = replace(report, max_abs_error=max(errors))
        reports.append(report)
    return tuple(reports)

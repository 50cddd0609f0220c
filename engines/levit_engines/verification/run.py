"""A verification from beginning to end: the bundle's files, the truth, every stage, every engine's batches."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime, timezone

import numpy as np
from numpy.typing import NDArray

from levit_deploy.blame import find_culprit
from levit_deploy.bundle import GOLDEN, PARITY, Bundle
from levit_deploy.errors import BundleError, LevitError
from levit_deploy.golden import STRUCTURED
from levit_deploy.ladder import Candidate, Measured, Truth, measure, probe_depth
from levit_deploy.machine import describe_machine, package_versions
from levit_deploy.metamorphic import FEWEST_IMAGES, batch_suite
from levit_deploy.module_truth import module_truth_of
from levit_deploy.progress import Observer, StageClock
from levit_deploy.rung_record import RungRecord
from levit_deploy.runner import check_specification
from levit_engines.verification.candidates import EngineCandidate, graph_as_written, graph_stage, open_engine
from levit_engines.verification.photographs import load_photographs
from levit_engines.verification.report import ImageSet, Origin, Stage, VerificationReport
from levit_engines.verification.request import VerifyRequest

READ, WEIGHTS, TRUTH = "read", "weights", "truth"
EAGER_STAGES = ("eager fp32", "fused")
DESCRIPTIONS = {
    READ: "checking the hash of every file",
    WEIGHTS: "loading the weights",
    TRUTH: "the truth in float64, and how far rounding may move it",
    "eager fp32": "the eager network in float32",
    "fused": "its normalisations folded",
    "traced": "the graph as it was traced, node by node",
    "simplified": "the simplified graph, node by node",
}
RECORDED_PACKAGES = ("levit-deploy", "torch", "onnx", "onnxruntime", "numpy", "pillow")


def steps(bundle: Bundle, request: VerifyRequest) -> Mapping[str, str]:
    """The steps that `verify` takes, in order, with a description each."""
    names = [READ, *((WEIGHTS, TRUTH, *EAGER_STAGES) if request.from_weights else ())]
    if request.from_weights and graph_stage(bundle) != "traced":
        names.append("traced")
    names.append(graph_stage(bundle))
    engines = dict.fromkeys(request.engines, "the engine as users get it, then its batches")
    return {**{name: DESCRIPTIONS[name] for name in names}, **engines}


def verify(bundle: Bundle, request: VerifyRequest, observer: Observer | None = None) -> VerificationReport:
    """Measure the ladder of `bundle` again. What fails is in the report; see `VerificationReport.__bool__`.

    Raises:
        BundleError: a file of the bundle is missing, altered or not what it should be.
        CheckpointError, ImageError: the weights or images cannot be used.
        ConfigError: the request does not fit the bundle.
        ParityError: the network itself gives no finite logits.
        EnvironmentIncompleteError: a package is missing, or a download is not possible.
    """
    clock = StageClock(observer)
    with clock.stage(READ):
        check_specification(bundle.manifest)
        bundle.verify()
        labels, recorded = bundle.labels(), recorded_rungs(bundle)
    evidence = _evidence_of_weights(bundle, request, clock) if request.from_weights else _evidence_of(bundle)
    stages = tuple(_climb(bundle, request, evidence, clock))
    golden = evidence.truth.golden
    return VerificationReport(
        bundle=bundle,
        truth=evidence.sentence,
        images=ImageSet(
            source=evidence.images,
            names=golden.names,
            pixels=golden.images,
            best_classes=tuple(int(index) for index in golden.logits.argmax(axis=1)),
        ),
        labels=labels,
        stages=(*_only_recorded(recorded, {stage.name for stage in stages}), *stages),
        misses=evidence.misses,
        notes=(*evidence.notes, *(f"{stage.name}: {stage.reason}" for stage in stages if stage.rungs and stage.reason)),
        environment=_environment(),
        seconds=clock.seconds,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Evidence:
    """The truth, in words too, and what it is compared with before the bundle's own graph."""

    truth: Truth
    sentence: str
    images: str
    stages: tuple[tuple[str, Callable[[], Candidate]], ...] = ()
    misses: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def _evidence_of(bundle: Bundle) -> _Evidence:
    """What the bundle carries: its golden images, and the values inside the network for two of them."""
    golden = bundle.golden()
    if len(golden.images) < FEWEST_IMAGES:
        raise BundleError(f"{bundle.path / GOLDEN}: {len(golden.images)} images, needed are {FEWEST_IMAGES} or more")
    truth = Truth(
        golden=golden,
        bounds=np.array(bundle.manifest.golden_tolerance),
        contract=bundle.manifest.preprocessing,
        modules=module_truth_of(bundle),
    )
    return _Evidence(
        truth=truth,
        sentence="the float64 logits that the bundle carries; give the weights to compute them again",
        images="golden images of the bundle",
    )


def _evidence_of_weights(bundle: Bundle, request: VerifyRequest, clock: StageClock) -> _Evidence:
    """The truth computed anew, for the golden images or the user's photographs."""
    from levit_engines.verification.weights import load_weights_under_test

    with clock.stage(WEIGHTS):
        weights = load_weights_under_test(bundle, request)
    with clock.stage(TRUTH):
        names, pixels, source = _images(bundle, request)
        truth = weights.truth(names, pixels)
    return _Evidence(
        truth=truth,
        sentence=f"the eager model in float64, from the {weights.loaded.origin} weights",
        images=source,
        stages=tuple(weights.stages()),
        misses=tuple(weights.misses(truth)),
        notes=weights.loaded.notes,
    )


def _images(bundle: Bundle, request: VerifyRequest) -> tuple[tuple[str, ...], NDArray[np.uint8], str]:
    """Names, pixels (n, S, S, 3) and source: photographs first, then the structured images of the golden set."""
    golden = bundle.golden()
    if request.images is None:
        return golden.names, golden.images, "golden images of the bundle"
    names, pixels, available = load_photographs(request.images, bundle.manifest.preprocessing, request.photographs)
    structured = [index for index, name in enumerate(golden.names) if name in STRUCTURED]
    source = f"{len(names)} of {available} images in {request.images}, {len(structured)} structured images"
    return (
        (*names, *(golden.names[index] for index in structured)),
        np.concatenate([pixels, golden.images[structured]]),
        source,
    )


def _climb(bundle: Bundle, request: VerifyRequest, evidence: _Evidence, clock: StageClock) -> Iterator[Stage]:
    """Every stage in order, each compared with the last one before it that could be measured.

    Raises BundleError where a file of the bundle is at fault, and no stage.
    """
    truth, sizes = evidence.truth, bundle.manifest.batch_sizes.verified
    previous: Measured | None = None
    graph = (graph_stage(bundle), lambda: graph_as_written(bundle))
    for name, make in (*evidence.stages, graph):
        with clock.stage(name):
            try:
                candidate = make()
                measured = measure(candidate, truth, sizes, previous)
            except BundleError:
                raise
            except LevitError as error:
                yield Stage(name=name, origin=Origin.NOT_RUN, reason=str(error))
                continue
            yield _stage(candidate, truth, measured)
            previous = measured
    for engine in request.engines:
        with clock.stage(engine):
            try:
                with open_engine(engine, bundle, request.threads) as candidate:
                    stage = _engine_stage(candidate, truth, sizes, previous)
            except BundleError:
                raise
            except LevitError as error:
                stage = Stage(name=engine, origin=Origin.NOT_RUN, reason=str(error))
            yield stage


def _stage(candidate: Candidate, truth: Truth, measured: Measured) -> Stage:
    decisive = measured.decisive
    stage = Stage(
        name=candidate.stage,
        origin=Origin.MEASURED,
        rungs=tuple(RungRecord.of(rung) for rung in measured.rungs),
    )
    try:
        known, depth = probe_depth(candidate, truth, decisive)
    except LevitError as error:  # the verdict stands without it
        return replace(stage, reason=f"its values inside could not be read: {error}")
    blame = find_culprit(known, depth, stage=decisive.stage, batch_size=decisive.batch_size)
    return replace(stage, depth=depth, blame=None if measured else blame)


def _engine_stage(engine: EngineCandidate, truth: Truth, sizes: Sequence[int], previous: Measured | None) -> Stage:
    stage = _stage(engine, truth, measure(engine, truth, sizes, previous))
    checks = batch_suite(engine.infer, truth.inputs(pixels=engine.takes_pixels), truth.bounds, sizes)
    return replace(stage, batch_checks=checks, provenance=engine.runner.provenance)


def recorded_rungs(bundle: Bundle) -> tuple[RungRecord, ...]:
    """The rungs that the export wrote into parity.json. Raises BundleError when that is not what it holds."""
    path = bundle.path / PARITY
    try:
        document = json.loads(bundle.read(PARITY))
        rungs = document["rungs"]
        bounds = document["bound"]["per_image"]
        if not isinstance(rungs, list) or not rungs:
            raise ValueError("no rungs")
        records = tuple(RungRecord.from_json(rung) for rung in rungs)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BundleError(f"{path}: not a parity ladder ({error!r}); export the bundle again") from error
    if bounds != list(bundle.manifest.golden_tolerance):
        raise BundleError(f"{path}: its bounds are not the tolerances of manifest.json; export the bundle again")
    return records


def _only_recorded(rungs: Sequence[RungRecord], measured: AbstractSet[str]) -> Iterator[Stage]:
    """The stages that were only measured when the bundle was made."""
    for name in dict.fromkeys(rung.stage for rung in rungs):
        if name not in measured:
            mine = tuple(rung for rung in rungs if rung.stage == name)
            yield Stage(name=name, origin=Origin.RECORDED, rungs=mine)


def _environment() -> dict[str, str]:
    machine = describe_machine()
    versions = {name: version or "not installed" for name, version in package_versions(RECORDED_PACKAGES).items()}
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cpu": machine.cpu,
        "usable cpus": str(machine.usable_cpus),
        "system": machine.system,
        "python": machine.python,
        **versions,
    }

"""A verification from beginning to end: the bundle's files, the truth, every stage, every engine's batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime, timezone

import numpy as np
from numpy.typing import NDArray

from levit_deploy.blame import find_culprit
from levit_deploy.bundle import Bundle
from levit_deploy.errors import BundleError, EnvironmentIncompleteError, LevitError
from levit_deploy.image_folder import load_photographs
from levit_deploy.ladder import Candidate, Measured, Truth, measure, probe_depth
from levit_deploy.machine import describe_machine, package_versions
from levit_deploy.metamorphic import batch_suite
from levit_deploy.probes import probes_of
from levit_deploy.progress import Observer, StageClock
from levit_deploy.rung_record import RungRecord
from levit_engines.catalogue import CATALOGUE
from levit_engines.engine_choice import default_engine
from levit_engines.verification.candidates import EngineCandidate, open_engine
from levit_engines.verification.contents import Contents, graph_stage, read_contents
from levit_engines.verification.report import ImageSet, Origin, Stage, VerificationReport
from levit_engines.verification.request import VerifyRequest
from levit_export.batch_sizes import sizes_to_verify
from levit_export.graph_candidate import graph_as_written

READ, WEIGHTS, TRUTH = "read", "weights", "truth"
FLOAT32_STAGES = ("eager fp32", "fused")
DESCRIPTIONS = {
    READ: "checking the hash of every file",
    WEIGHTS: "loading the weights",
    TRUTH: "the truth in float64, and how far rounding may move it",
    "eager fp32": "the eager network in float32",
    "fused": "its normalisations folded",
    "traced": "the graph as it was traced, node by node",
    "simplified": "the simplified graph, node by node",
    "quantised": "the graph with its layers on integers, node by node",
}
RECORDED_PACKAGES = ("levit-deploy", "torch", "onnx", "onnxruntime", "numpy", "pillow")


def steps(bundle: Bundle, request: VerifyRequest) -> Mapping[str, str]:
    """The steps that `verify` takes, in order, with a description each."""
    names = [READ, *((WEIGHTS, TRUTH, *FLOAT32_STAGES) if request.from_weights else ())]
    if request.from_weights and graph_stage(bundle) != "traced":
        names.append("traced")
    names.append(graph_stage(bundle))
    engines = dict.fromkeys(engines_of(bundle, request), "the engine as users get it, then its batches")
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
        contents = read_contents(bundle)
    evidence = _evidence_of_weights(contents, request, clock) if request.from_weights else _evidence_of(contents)
    climbed = tuple(_climb(contents, request, evidence, clock))
    stages = tuple(stage for stage in climbed if stage.origin is not Origin.UNAVAILABLE)
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
        labels=contents.labels,
        stages=(*_only_recorded(contents.recorded, {stage.name for stage in stages}), *stages),
        misses=evidence.misses,
        notes=(*evidence.notes, *_notes(bundle, climbed)),
        environment=_environment(),
        seconds=clock.seconds,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Evidence:
    """The truth, in words too, and what it is compared with before the bundle's own graph.

    `truth` has the bounds of the bundle's precision, `exact` those of float32, for the stages before the cast, and
    `cast` those of the graph before its layers became integers.
    """

    truth: Truth
    exact: Truth
    cast: Truth
    sentence: str
    images: str
    stages: tuple[tuple[str, Callable[[], Candidate]], ...] = ()
    misses: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def _evidence_of(contents: Contents) -> _Evidence:
    """What the bundle carries: its golden images, and the values inside the network for two of them."""
    manifest = contents.bundle.manifest
    truth = Truth(
        golden=contents.golden,
        bounds=np.array(manifest.golden_tolerance),
        contract=manifest.preprocessing,
        modules=contents.modules,
    )
    return _Evidence(
        truth=truth,
        exact=truth,
        cast=truth,
        sentence="the float64 logits that the bundle carries; give the weights to compute them again",
        images="golden images of the bundle",
    )


def _evidence_of_weights(contents: Contents, request: VerifyRequest, clock: StageClock) -> _Evidence:
    """The truth computed anew, for the user's photographs and the golden images."""
    from levit_engines.verification.weights import load_weights_under_test

    with clock.stage(WEIGHTS):
        weights = load_weights_under_test(contents, request)
    with clock.stage(TRUTH):
        names, pixels, source = _images(contents, request)
        precision = contents.bundle.manifest.precision
        truth = weights.truth(names, pixels, precision)
        exact = truth if precision == "fp32" else weights.truth(names, pixels, "fp32")
        traced = weights.export.precision.value
        cast = {precision: truth, "fp32": exact}.get(traced) or weights.truth(names, pixels, traced)
        misses = tuple(weights.misses(truth))
    return _Evidence(
        truth=truth,
        exact=exact,
        cast=cast,
        sentence=f"the eager model in float64, from the {weights.loaded.origin} weights",
        images=source,
        stages=tuple(weights.stages()),
        misses=misses,
        notes=weights.loaded.notes,
    )


def _images(contents: Contents, request: VerifyRequest) -> tuple[tuple[str, ...], NDArray[np.uint8], str]:
    """Names, pixels (n, S, S, 3) and source: the user's photographs first, then the golden images."""
    golden, contract = contents.golden, contents.bundle.manifest.preprocessing
    if request.images is None:
        return golden.names, golden.images, "golden images of the bundle"
    names, pixels, available = load_photographs(request.images, contract, request.photographs)
    source = f"{len(names)} of {available} images in {request.images}, {len(golden.names)} golden images"
    return (*names, *golden.names), np.concatenate([pixels, golden.images]), source


def _notes(bundle: Bundle, stages: Sequence[Stage]) -> Iterator[str]:
    """What a user should know although nothing failed."""
    sizes = bundle.manifest.batch_sizes
    missing = sizes.maximum - sizes.minimum + 1 - len(_sizes(bundle))
    if missing:
        yield f"{missing} of the batch sizes {sizes.minimum} to {sizes.maximum} lie between those that were run"
    for stage in stages:
        if stage.origin in (Origin.MEASURED, Origin.UNAVAILABLE) and stage.reason:
            yield f"{stage.name}: {stage.reason}"


def _sizes(bundle: Bundle) -> tuple[int, ...]:
    """The batch sizes to run: those that the manifest says were, and those that an export of that range runs."""
    sizes = bundle.manifest.batch_sizes
    return tuple(sorted({*sizes.verified, *sizes_to_verify(sizes.minimum, sizes.maximum).verified}))


def _climb(contents: Contents, request: VerifyRequest, evidence: _Evidence, clock: StageClock) -> Iterator[Stage]:
    """Every stage in order, each compared with the last one before it that could be measured.

    Raises BundleError where a file of the bundle is at fault, and no stage.
    """
    sizes = _sizes(contents.bundle)
    previous: Measured | None = None
    written, probes = graph_stage(contents.bundle), probes_of(contents.bundle.manifest.config)
    graph = (written, lambda: graph_as_written(written, contents.graph, probes))
    truths = {**dict.fromkeys(FLOAT32_STAGES, evidence.exact), "traced": evidence.cast, written: evidence.truth}
    for name, make in (*evidence.stages, graph):
        truth = truths[name]
        with clock.stage(name):
            try:
                candidate = make()
                measured = measure(candidate, truth, sizes, previous)
            except BundleError:
                raise
            except LevitError as error:
                yield _not_run(name, error)
                continue
            yield _stage(candidate, truth, measured)
            previous = measured
    truth = evidence.truth
    for engine in engines_of(contents.bundle, request):
        if engine not in CATALOGUE:  # an entry of the bundle
            yield Stage(name=engine, origin=Origin.UNAVAILABLE, reason="this levit-deploy does not know this engine")
            continue
        with clock.stage(engine):
            try:
                with open_engine(engine, contents, request.threads) as runner:
                    stage = _engine_stage(runner, truth, sizes, previous)
            except BundleError:
                raise
            except LevitError as error:
                # Only what was asked for must run; ONNX Runtime always is.
                optional = request.engines is None and engine != "onnxruntime"
                stage = _not_run(engine, error)
                if optional and stage.lacking:
                    stage = replace(stage, origin=Origin.UNAVAILABLE)
            yield stage


def _not_run(name: str, error: LevitError) -> Stage:
    lacking = isinstance(error, EnvironmentIncompleteError)
    return Stage(name=name, origin=Origin.NOT_RUN, reason=str(error), lacking=lacking)


def _stage(candidate: Candidate, truth: Truth, measured: Measured) -> Stage:
    decisive = measured.decisive
    stage = Stage(
        name=candidate.stage,
        origin=Origin.MEASURED,
        rungs=tuple(RungRecord.of(rung) for rung in measured.rungs),
    )
    try:
        known, depth = probe_depth(candidate, truth, decisive)
    except LevitError as error:  # the verdict stands without it; only a miss has to be explained
        return stage if measured else replace(stage, reason=f"its values inside could not be read: {error}")
    if measured:
        return replace(stage, depth=depth)
    blame = find_culprit(
        known, depth, stage=decisive.stage, batch_size=decisive.batch_size, image=decisive.decisive_image
    )
    return replace(stage, depth=depth, blame=blame)


def engines_of(bundle: Bundle, request: VerifyRequest) -> tuple[str, ...]:
    """The engines to verify: those asked for, else ONNX Runtime, the default, what is installed, what is built.

    PyTorch runs the same network as the ladder's first stages: it is only verified when asked for.
    """
    if request.engines is not None:
        return request.engines
    distributions = {name: set(CATALOGUE[name].distributions.values()) for name in ("openvino", "onnxruntime-cuda")}
    found = [name for name, needed in distributions.items() if None not in package_versions(needed).values()]
    able = [
        name
        for name in ("onnxruntime", default_engine(bundle), *found)
        if bundle.manifest.precision in CATALOGUE[name].precisions
    ]
    return tuple(dict.fromkeys((*able, *bundle.manifest.engines)))


def _engine_stage(engine: EngineCandidate, truth: Truth, sizes: Sequence[int], previous: Measured | None) -> Stage:
    taken = engine.runner.batch_sizes  # what it was built for, if that is less than the graph takes
    sizes = tuple(size for size in sizes if taken.minimum <= size <= taken.maximum) or taken.verified
    stage = _stage(engine, truth, measure(engine, truth, sizes, previous))
    reasons = "; ".join(filter(None, (*engine.runner.notes, stage.reason)))
    stage = replace(stage, provenance=engine.runner.provenance, reason=reasons)
    try:
        checks = batch_suite(engine.infer, truth.inputs(pixels=engine.takes_pixels), truth.bounds, sizes)
    except LevitError as error:
        return replace(stage, origin=Origin.NOT_RUN, reason=f"its batch suite: {error}")
    return replace(stage, batch_checks=checks)


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

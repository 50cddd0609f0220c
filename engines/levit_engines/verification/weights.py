"""Verification from the weights: the truth computed anew, and the stages before the bundle's graph. Needs PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from levit_deploy.arithmetic import ARITHMETICS
from levit_deploy.bundle import MODULES, Golden
from levit_deploy.errors import BundleError, CheckpointError, ConfigError
from levit_deploy.fusion import fuse
from levit_deploy.ladder import Candidate, Truth
from levit_deploy.manifest import Manifest
from levit_deploy.module_truth import ModuleTruth
from levit_deploy.preprocessing import preprocessing_for
from levit_deploy.probes import probes_of
from levit_deploy.reference import EagerCandidate, truth_of
from levit_engines.verification.contents import Contents, graph_stage
from levit_engines.verification.request import VerifyRequest
from levit_export.forms.packed import moved_rows
from levit_export.graph_candidate import graph_as_written
from levit_export.loading import UNTRAINED, LoadedWeights, load_weights
from levit_export.naming import TOP_K_NAMES
from levit_export.pipeline import cast_and_trace
from levit_export.precision.integers import quantized_layers
from levit_export.request import ExportRequest, Precision, Target

# Unit roundoff of float64 over that of float32: bounds are proportional to it.
FLOAT64_SHARE = 2.0**-29
# How much larger than our own bound a bundle's tolerance may be: bounds are estimated from other random draws.
TOLERANCE_FREEDOM = 3.0


@dataclass(frozen=True, slots=True)
class WeightsUnderTest:
    """The weights that a bundle is verified against, and the export that would make it from them."""

    loaded: LoadedWeights
    export: ExportRequest
    contents: Contents

    def truth(self, names: Sequence[str], pixels: NDArray[np.uint8], precision: str) -> Truth:
        """The truth for these images, with bounds for `precision`; ParityError when it has no finite logits."""
        model, contract = self.loaded.model, self.contents.bundle.manifest.preprocessing
        layers = None
        if precision == Precision.INT8.value:
            precision = self.export.precision.value
            layers = quantized_layers(self.contents.graph, moved_rows(fuse(model)))
        return truth_of(model, names, pixels, contract, arithmetic=ARITHMETICS[precision], layers=layers)

    def stages(self) -> Iterator[tuple[str, Callable[[], Candidate]]]:
        """The stages that lead to the bundle's graph, in order; each is made when it is called."""
        model, config = self.loaded.model, self.loaded.model.config
        fused = cache(lambda: fuse(model))
        yield "eager fp32", lambda: EagerCandidate(stage="eager fp32", model=model)
        yield "fused", lambda: EagerCandidate(stage="fused", model=fused())
        if graph_stage(self.contents.bundle) != "traced":
            manifest = self.contents.bundle.manifest

            def traced() -> Candidate:
                contract, sizes = manifest.preprocessing, manifest.batch_sizes
                graph, _ = cast_and_trace(fused(), self.export, contract, sizes, _islands(manifest))
                return graph_as_written("traced", graph, probes_of(config))

            yield "traced", traced

    def misses(self, truth: Truth) -> Iterator[str]:
        """Sentences about what the bundle says of itself and these weights contradict.

        The last images of `truth` are the golden ones.
        """
        manifest = self.contents.bundle.manifest
        recorded, found = manifest.weights.get("state_sha256"), self.loaded.record["state_sha256"]
        if recorded != found:
            yield f"the weights are not those of the bundle: their sha256 is {found}, manifest.json says {recorded}"
        # The same weights from another code base would be preprocessed as that one does.
        contract = manifest.preprocessing
        expected = preprocessing_for(
            self.loaded.origin, contract.image_size, apply_exif_orientation=contract.apply_exif_orientation
        )
        if contract != expected and self.loaded.origin == manifest.weights.get("origin"):
            yield f"the preprocessing of manifest.json is not that of {self.loaded.origin} weights"
        first = len(truth.golden.images) - len(self.contents.golden.images)
        yield from _golden_misses(self.contents.golden, np.array(manifest.golden_tolerance), truth, first)
        yield from _module_misses(self.contents.modules, truth, first)


def _golden_misses(golden: Golden, tolerances: NDArray[np.float64], truth: Truth, first: int) -> Iterator[str]:
    for index, name in enumerate(golden.names):
        error = float(np.abs(golden.logits[index] - truth.golden.logits[first + index]).max())
        bound = float(truth.bounds[first + index])
        if not error <= 2 * FLOAT64_SHARE * bound:
            yield f"golden image {name!r}: the bundle's float64 logits are {error:.3g} from those of the weights"
        if not tolerances[index] <= TOLERANCE_FREEDOM * bound:
            yield f"golden image {name!r}: manifest.json tolerates {tolerances[index]:.3g}, explained is {bound:.3g}"


def _module_misses(modules: ModuleTruth, truth: Truth, first: int) -> Iterator[str]:
    """At most one sentence: which value inside the network the bundle has wrong first."""
    found = truth.modules.about([first + image for image in modules.images])
    for probe in modules.probes:
        values, bounds = modules.values[probe.name], found.bounds[probe.name]
        expected = found.values[probe.name]
        errors = np.abs(values - expected).max(axis=1) if values.shape == expected.shape else np.inf
        if not (errors <= 2 * FLOAT64_SHARE * bounds).all():
            yield f"{MODULES}: its values of {probe.name} are not those of the weights"
            return
        if not (modules.bounds[probe.name] <= TOLERANCE_FREEDOM * bounds).all():
            yield f"{MODULES}: it allows more of {probe.name} than rounding explains"
            return


def load_weights_under_test(contents: Contents, request: VerifyRequest) -> WeightsUnderTest:
    """The weights that `request` names. Raises CheckpointError when they are of another network than the bundle."""
    manifest = contents.bundle.manifest
    export = _export_request(manifest, request)
    loaded = load_weights(export)
    if loaded.model.config != manifest.config:
        found, wanted = loaded.model.config, manifest.config
        differing = [name for name, value in wanted.to_json().items() if found.to_json()[name] != value]
        raise CheckpointError(
            f"{request.checkpoint or f'the {loaded.origin} weights'}: another network than the bundle's: "
            + ", ".join(f"{name} {found.to_json()[name]} instead of {wanted.to_json()[name]}" for name in differing)
        )
    return WeightsUnderTest(loaded, export, contents)


def _export_request(manifest: Manifest, request: VerifyRequest) -> ExportRequest:
    seed = manifest.weights.get("seed")
    if request.untrained and (manifest.weights.get("origin") != UNTRAINED or type(seed) is not int):
        raise ConfigError("--untrained: the bundle has real weights; give --checkpoint FILE or --pretrained")
    opset = manifest.graph.get("opset")
    if type(opset) is not int:
        raise BundleError(f"manifest.json: the graph's opset is {opset!r}; export the bundle again")
    sizes, config = manifest.batch_sizes, manifest.config
    target, precision = _target(manifest), _precision(manifest)
    if precision is Precision.INT8:  # made of a graph that a GPU would get, for CPUs of the one in float32
        target, precision = Target.GPU, Precision.FP32 if target is Target.CPU else Precision.FP16
    try:
        return ExportRequest(
            arch=config.arch,
            checkpoint=request.checkpoint,
            pretrained=request.pretrained,
            target=target,
            precision=precision,
            batch=(sizes.minimum, sizes.maximum),
            image_size=config.image_size,
            opset=opset,
            uint8_input=manifest.input.dtype == "uint8",
            top_k=_top_k(manifest),
            seed=seed if request.untrained and type(seed) is int else 0,
        )
    except ConfigError as error:  # the user gave none of these: the manifest did
        raise BundleError(f"manifest.json: {error}") from error


def _target(manifest: Manifest) -> Target:
    try:
        return Target(manifest.target)
    except ValueError as error:
        raise BundleError(f"manifest.json: unknown target {manifest.target!r}") from error


def _precision(manifest: Manifest) -> Precision:
    try:
        return Precision(manifest.precision)
    except ValueError as error:
        raise BundleError(f"manifest.json: unknown precision {manifest.precision!r}") from error


def _islands(manifest: Manifest) -> tuple[str, ...]:
    """The branches that the export kept in float32."""
    cast = manifest.graph.get("cast")
    found = cast.get("float32_modules", []) if isinstance(cast, dict) else []
    if not (isinstance(found, list) and all(isinstance(path, str) for path in found)):
        raise BundleError("manifest.json: the modules left in float32 are not a list of paths; export the bundle again")
    return tuple(found)


def _top_k(manifest: Manifest) -> int | None:
    for output in manifest.outputs:
        if output.name == TOP_K_NAMES[0]:
            if len(output.shape) != 2 or not isinstance(output.shape[1], int):
                raise BundleError(f"manifest.json: {output.name} has shape {list(output.shape)}")
            return output.shape[1]
    return None

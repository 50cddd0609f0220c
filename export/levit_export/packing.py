"""What goes into a bundle: the manifest, the members, and the recipe that is repeated inside the ONNX file."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata

import onnx

from levit_deploy.arithmetic import ARITHMETICS
from levit_deploy.bundle import GOLDEN, LABELS, MODEL, MODULES, PARITY, sha256_of
from levit_deploy.commandline import DISTRIBUTION
from levit_deploy.ladder import Truth
from levit_deploy.machine import package_versions
from levit_deploy.manifest import BatchSizes, Manifest, TensorSpecification
from levit_deploy.metamorphic import BatchCheck
from levit_deploy.parity import Rung, decisive_of
from levit_deploy.preprocessing import Preprocessing
from levit_deploy.rounding import FAILURE_PROBABILITY, SAFETY
from levit_export.loading import LoadedWeights
from levit_export.naming import BATCH_AXIS, INPUT_NAME, LOGITS_NAME, TOP_K_NAMES
from levit_export.precision.calibration import CalibrationSet
from levit_export.precision.half import CastRecord
from levit_export.precision.integers import SCHEMES
from levit_export.precision.sensitivity import Search
from levit_export.recipe import recipe_of
from levit_export.request import ExportRequest, Precision, form_of
from levit_export.simplification import Simplification

RECORDED_PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime", "onnxsim", "numpy", "pillow")
# A photograph, and noise for what a photograph does not reach; each costs up to a megabyte.
PROBED_IMAGES = ("astronaut", "noise")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingredients:
    """All that is settled before the first graph exists."""

    name: str
    request: ExportRequest
    weights: LoadedWeights
    contract: Preprocessing
    batch_sizes: BatchSizes
    labels: tuple[str, ...]
    labels_provenance: str

    @property
    def labels_bytes(self) -> bytes:
        """The content of labels.txt."""
        return ("\n".join(self.labels) + "\n").encode()

    @property
    def batch_axis(self) -> int | str:
        """First dimension of every input and output: a number, or the name of the dynamic axis."""
        return BATCH_AXIS if self.batch_sizes.dynamic else self.batch_sizes.minimum


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was measured and holds: the ladder, and the batch suite of the engine."""

    rungs: tuple[Rung, ...]
    batch_checks: tuple[BatchCheck, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What was made of the network: its graph, and the records of how."""

    simplification: Simplification
    cast: CastRecord | None
    search: Search | None
    calibration: CalibrationSet | None

    @property
    def model(self) -> onnx.ModelProto:
        """The graph of the bundle."""
        return self.simplification.model if self.search is None else self.search.quantization.model

    def to_json(self, request: ExportRequest) -> dict[str, object]:
        """What the manifest says of the precision."""
        cast: dict[str, object] = {} if self.cast is None else {"cast": self.cast.to_json()}
        if self.search is None or self.calibration is None:
            return cast
        record = {
            **self.search.to_json(),
            **SCHEMES[request.target].to_json(),
            "method": request.calibration_method.value,
            "calibration": self.calibration.to_json(),
        }
        return {**cast, "quantization": record}


def stamp(model: onnx.ModelProto, ingredients: Ingredients) -> None:
    """Write the recipe into the file itself, so that it still tells what it is when it is alone."""
    recipe = recipe_of(
        ingredients.weights.model.config,
        ingredients.contract,
        ingredients.batch_sizes,
        weights=ingredients.weights.record,
        names={
            "precision": ingredients.request.precision.value,
            "target": ingredients.request.target.value,
            "toolkit_version": toolkit_version(),
            "labels_sha256": sha256_of(ingredients.labels_bytes),
        },
    )
    model.producer_version = toolkit_version()
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, recipe)


def bundle_contents(
    ingredients: Ingredients, made: Made, truth: Truth, proof: Proof
) -> tuple[Manifest, Mapping[str, bytes]]:
    """The manifest (still without its list of members) and the content of every member."""
    model, simplification = made.model, made.simplification
    members = {
        MODEL: model.SerializeToString(deterministic=True),
        LABELS: ingredients.labels_bytes,
        GOLDEN: truth.golden.to_bytes(),
        MODULES: truth.modules.about([truth.golden.names.index(name) for name in PROBED_IMAGES]).to_bytes(),
        PARITY: (
            json.dumps(_ladder(truth, proof, ingredients.request.float_precision), indent=2, allow_nan=False) + "\n"
        ).encode(),
    }
    request, weights = ingredients.request, ingredients.weights
    manifest = Manifest(
        name=ingredients.name,
        config=weights.model.config,
        precision=request.precision.value,
        target=request.target.value,
        weights=weights.record,
        versions=versions(),
        preprocessing=ingredients.contract,
        input=_input(ingredients),
        outputs=_outputs(ingredients),
        batch_sizes=ingredients.batch_sizes,
        graph={
            "form": form_of(request).value,
            "opset": request.opset_version,
            "ir_version": model.ir_version,
            "nodes": len(model.graph.node),
            "simplified": simplification.kept,
            "simplification": simplification.reason,
            "labels": ingredients.labels_provenance,
            **made.to_json(request),
        },
        parity={"verdict": "pass", "rungs": len(proof.rungs), "worst": decisive_of(proof.rungs).to_json()},
        golden_tolerance=tuple(float(bound) for bound in truth.bounds),
        members={},
        engines={},
    )
    return manifest, members


def _input(ingredients: Ingredients) -> TensorSpecification:
    side, batch = ingredients.contract.image_size, ingredients.batch_axis
    if ingredients.request.uint8_input:
        return TensorSpecification(name=INPUT_NAME, dtype="uint8", layout="NHWC", shape=(batch, side, side, 3))
    return TensorSpecification(name=INPUT_NAME, dtype="float32", layout="NCHW", shape=(batch, 3, side, side))


def _outputs(ingredients: Ingredients) -> tuple[TensorSpecification, ...]:
    batch, classes = ingredients.batch_axis, ingredients.weights.model.config.num_classes
    logits = TensorSpecification(name=LOGITS_NAME, dtype="float32", layout="NK", shape=(batch, classes))
    top_k = ingredients.request.top_k
    if top_k is None:
        return (logits,)
    best = (
        TensorSpecification(name=name, dtype=dtype, layout="NK", shape=(batch, top_k))
        for name, dtype in zip(TOP_K_NAMES, ("float32", "int64"), strict=True)
    )
    return (logits, *best)


def _ladder(truth: Truth, proof: Proof, precision: Precision) -> dict[str, object]:
    arithmetic = ARITHMETICS[precision.value]  # what integers round is in the graph
    return {
        "truth": "eager model in float64",
        "images": list(truth.golden.names),
        "bound": {
            "per_image": [float(bound) for bound in truth.bounds],
            "rounding": arithmetic.deviation,
            "accumulation": arithmetic.accumulation,
            "safety": SAFETY,
            "failure_probability": FAILURE_PROBABILITY,
        },
        "rungs": [rung.to_json() for rung in proof.rungs],
        "batch_checks": [check.to_json() for check in proof.batch_checks],
    }


def toolkit_version() -> str:
    """The version of levit-deploy that is installed."""
    return metadata.version(DISTRIBUTION)


def versions() -> dict[str, str]:
    """The toolkit, Python, and the libraries that shaped the bundle; those that are not installed are left out."""
    installed = {name: version for name, version in package_versions(RECORDED_PACKAGES).items() if version is not None}
    return {DISTRIBUTION: toolkit_version(), "python": platform.python_version(), **installed}

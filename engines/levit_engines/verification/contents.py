"""What a bundle holds, read once: every hash checked, and that its files do not contradict each other."""

from __future__ import annotations

import json
from dataclasses import dataclass

import onnx

from levit_deploy.bundle import GOLDEN, LABELS, MANIFEST, MODEL, PARITY, Bundle, Golden
from levit_deploy.errors import BundleError
from levit_deploy.metamorphic import FEWEST_IMAGES
from levit_deploy.module_truth import ModuleTruth, module_truth_of
from levit_deploy.rung_record import RungRecord
from levit_deploy.runner import check_specification
from levit_engines.catalogue import CATALOGUE
from levit_export.recipe import recipe_of

ALWAYS_RECORDED = ("eager fp32", "fused", "traced")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """A bundle whose files were read and agree; `recorded` are the rungs of its parity.json."""

    bundle: Bundle
    graph: onnx.ModelProto
    labels: tuple[str, ...]
    golden: Golden
    modules: ModuleTruth
    recorded: tuple[RungRecord, ...]


def graph_stage(bundle: Bundle) -> str:
    """The name of the ladder's stage that the bundle's graph is."""
    if bundle.manifest.precision == "int8":
        return "quantised"
    return "simplified" if bundle.manifest.graph.get("simplified") else "traced"


def read_contents(bundle: Bundle) -> Contents:
    """Read all of `bundle`. Raises BundleError for the first file at fault."""
    try:
        check_specification(bundle.manifest)
    except BundleError as error:
        raise BundleError(f"{bundle.path}: {error}") from error
    bundle.verify()
    labels, graph = bundle.labels(), _graph_of(bundle)
    _require_recipe(bundle, graph)
    return Contents(
        bundle=bundle,
        graph=graph,
        labels=labels,
        golden=_golden_of(bundle),
        modules=module_truth_of(bundle),
        recorded=recorded_rungs(bundle),
    )


def _graph_of(bundle: Bundle) -> onnx.ModelProto:
    try:
        return onnx.load_model_from_string(bundle.read(MODEL))
    except Exception as error:  # protobuf's DecodeError, of a package without types
        raise BundleError(f"{bundle.path / MODEL}: not an ONNX file ({error}); export the bundle again") from error


def _require_recipe(bundle: Bundle, graph: onnx.ModelProto) -> None:
    """Raise BundleError unless the graph, which is hashed, tells of itself what the manifest, which is not, tells."""
    manifest = bundle.manifest
    expected = recipe_of(
        manifest.config,
        manifest.preprocessing,
        manifest.batch_sizes,
        weights=manifest.weights,
        names={
            "precision": manifest.precision,
            "target": manifest.target,
            "toolkit_version": manifest.versions.get("levit-deploy", ""),
            "labels_sha256": manifest.members[LABELS].sha256 if LABELS in manifest.members else "",
        },
    )
    found = {entry.key: entry.value for entry in graph.metadata_props}
    for name, text in expected.items():
        if found.get(name) != text:
            raise BundleError(
                f"{bundle.path / MANIFEST}: says {name.removeprefix('levit.')} {text}, "
                f"{MODEL} says {found.get(name, 'nothing')}; export the bundle again"
            )


def _golden_of(bundle: Bundle) -> Golden:
    golden = bundle.golden()
    if len(set(golden.names)) < max(len(golden.names), FEWEST_IMAGES):
        raise BundleError(
            f"{bundle.path / GOLDEN}: images {list(golden.names)}, needed are {FEWEST_IMAGES} or more, no name twice"
        )
    return golden


def recorded_rungs(bundle: Bundle) -> tuple[RungRecord, ...]:
    """The rungs that the export wrote into parity.json, one for each stage and batch size.

    Raises BundleError when that is not what it holds.
    """
    path = bundle.path / PARITY
    try:
        document = json.loads(bundle.read(PARITY))
        rungs, bounds = document["rungs"], document["bound"]["per_image"]
        records = tuple(RungRecord.from_json(rung) for rung in rungs)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BundleError(f"{path}: not a parity ladder ({error!r}); export the bundle again") from error
    if bounds != list(bundle.manifest.golden_tolerance):
        raise BundleError(f"{path}: its bounds are not the tolerances of manifest.json; export the bundle again")
    found = {(rung.stage, rung.batch_size) for rung in records}
    engine = ("onnxruntime",) if bundle.manifest.precision in CATALOGUE["onnxruntime"].precisions else ()
    for stage in dict.fromkeys((*ALWAYS_RECORDED, graph_stage(bundle), *engine)):
        for size in bundle.manifest.batch_sizes.verified:
            if (stage, size) not in found:
                raise BundleError(f"{path}: no rung of {stage!r} at batch {size}; export the bundle again")
    return records

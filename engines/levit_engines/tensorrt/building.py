"""A bundle's graph to a plan: checked, built in a child process, and compared with what the manifest promises."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import onnx

from levit_deploy.bundle import MODEL as BUNDLE_MODEL
from levit_deploy.bundle import Bundle
from levit_deploy.engine_entry import Profile
from levit_deploy.errors import BundleError, ConfigError, ExportError
from levit_engines.built import BuildRequest, Built, profile_of, refuse_options
from levit_engines.bundle_runner import require_specification
from levit_engines.progress import OnProgress
from levit_engines.tensorrt.attention import describe_attention
from levit_engines.tensorrt.compatibility import platform_here
from levit_engines.tensorrt.devices import gpu_or_reason
from levit_engines.tensorrt.flavours import Flavour, flavour_of
from levit_engines.tensorrt.network import engine_mismatches, mismatches
from levit_engines.tensorrt.order import MODEL, NOT_INSPECTED, ORDER, PLAN, BuildOrder, Outcome, ProfileOrder
from levit_engines.tensorrt.process import COMMAND, TIMEOUT_S, run_child
from levit_engines.tensorrt.requirements import violations
from levit_engines.tensorrt.targets import describe_targets, fits


def build(
    bundle: Bundle,
    engine: str,
    request: BuildRequest,
    on_progress: OnProgress | None = None,
    *,
    command: tuple[str, ...] = COMMAND,
    timeout_s: float = TIMEOUT_S,
) -> Built:
    """Build the plan of `bundle` with "tensorrt" or "tensorrt-rtx"; `on_progress` gets (phase, done, total).

    What `on_progress` raises ends the build. `command` is the child process, `timeout_s` the most it may take.

    Raises:
        ConfigError: an option is not for this engine, or out of its range.
        BundleError: the bundle is altered, or the engine cannot take its graph.
        EnvironmentIncompleteError: the library is missing, or cannot build here.
        ExportError: the build failed, or made another network than the manifest promises.
    """
    flavour = flavour_of(engine)
    refuse_options(request, engine, flavour.refused_options)
    if request.workspace_mib is not None and request.workspace_mib < 1:
        raise ConfigError(f"--workspace-mib {request.workspace_mib}: must be at least 1")
    require_specification(bundle)
    profile = profile_of(request, bundle.manifest.batch_sizes)
    options = _options(request)
    content = bundle.read(BUNDLE_MODEL)
    model = _checked_model(content, bundle, flavour)
    order = _order(bundle, engine, request, profile)
    with tempfile.TemporaryDirectory(prefix="levit-build-") as name:
        folder = Path(name)
        (folder / MODEL).write_bytes(content)
        (folder / ORDER).write_text(order.to_text(), encoding="utf-8")
        record, outcome = _await(folder, bundle, on_progress, command, timeout_s)
        plan = (folder / PLAN).read_bytes()
    network = {**record, "attention": describe_attention(model, bundle.manifest.config, bundle.manifest.precision)}
    if outcome.engine:
        network["engine"] = dict(outcome.engine)
        _require_asked(outcome.engine, bundle)
    if outcome.gpu:
        network["built_on"] = dict(outcome.gpu)
    return Built(
        files={PLAN: plan},
        libraries={flavour.module: outcome.version},
        requirements={"compute_capabilities": describe_targets(outcome.targets), "platform": platform_here()},
        profile=profile,
        options=options,
        network=network,
        notes=outcome.notes,
        runs_here=_why_not_here(flavour, outcome),
    )


def _checked_model(content: bytes, bundle: Bundle, flavour: Flavour) -> onnx.ModelProto:
    path = bundle.path / BUNDLE_MODEL
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's DecodeError, of a package without types
        raise BundleError(f"{path}: not an ONNX file: export the bundle again") from error
    found = violations(model)
    if found:
        raise BundleError(f"{path}: {flavour.title} must not be given this graph: {'; '.join(found)}")
    return model


def _order(bundle: Bundle, engine: str, request: BuildRequest, profile: Profile) -> BuildOrder:
    specification = bundle.manifest.input
    shapes = None
    if not isinstance(specification.shape[0], int):
        image = tuple(side for side in specification.shape[1:] if isinstance(side, int))
        shapes = ProfileOrder(
            input=specification.name,
            minimum=(profile.minimum, *image),
            optimum=(profile.optimum, *image),
            maximum=(profile.maximum, *image),
        )
    return BuildOrder(
        engine=engine,
        profile=shapes,
        compute_capabilities=request.compute_capabilities,
        workspace_mib=request.workspace_mib,
        timing_cache=None if request.timing_cache is None else str(request.timing_cache.absolute()),
    )


def _await(
    folder: Path, bundle: Bundle, on_progress: OnProgress | None, command: tuple[str, ...], timeout_s: float
) -> tuple[Mapping[str, Any], Outcome]:
    """The child's record of the network, which is checked before the build begins, and its outcome."""
    record: Mapping[str, Any] | None = None
    outcome: Outcome | None = None
    try:
        with closing(run_child(folder, command=command, timeout_s=timeout_s)) as events:
            for event in events:
                if event["event"] == "network":
                    record = event["record"]
                    _require_promised(event["record"], bundle)
                elif event["event"] == "built":
                    outcome = Outcome.from_json(event["outcome"])
                elif event["event"] == "progress" and on_progress is not None:
                    on_progress(event["phase"], event["done"], event["total"])
    except (BundleError, ExportError) as error:
        raise type(error)(f"{bundle.path / BUNDLE_MODEL}: {error}") from error
    if record is None or outcome is None:
        raise ExportError("the build ended without saying what it made: report this")
    return record, outcome


def _require_promised(record: Mapping[str, Any], bundle: Bundle) -> None:
    found = mismatches(record, bundle.manifest)
    if found:
        raise ExportError(f"the parser made another network: {'; '.join(found)}")


def _require_asked(engine: Mapping[str, Any], bundle: Bundle) -> None:
    found = engine_mismatches(engine, bundle.manifest)
    if found:
        raise ExportError(f"{bundle.path / BUNDLE_MODEL}: the engine is not what was asked for: {'; '.join(found)}")


def _why_not_here(flavour: Flavour, outcome: Outcome) -> str:
    """Why the plan cannot be opened on this machine; empty when it can."""
    gpu, missing = gpu_or_reason(flavour.extra)
    if gpu is None:
        return missing
    targets = describe_targets(outcome.targets)
    if not fits(targets, gpu.capability):
        return f"the GPU here has compute capability {gpu.capability_text}, the engine is for {targets}"
    if NOT_INSPECTED in outcome.engine:
        return f"{flavour.title} could not load it on the GPU here: {outcome.engine[NOT_INSPECTED]}"
    return ""


def _options(request: BuildRequest) -> dict[str, str]:
    options = {}
    if request.workspace_mib is not None:
        options["workspace_mib"] = str(request.workspace_mib)
    if request.compute_capabilities:
        options["compute_capabilities"] = describe_targets(request.compute_capabilities)
    if request.timing_cache is not None:
        options["timing_cache"] = "given"
    return options

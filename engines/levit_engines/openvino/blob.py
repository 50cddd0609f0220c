"""The network as OpenVINO compiled it, kept in the bundle: opening it takes about a third less time.

OpenVINO reads such a file only with the very build that wrote it and on a CPU with the same instruction set, and it
does not notice altered weights: the bundle's hash does, before the file is loaded.
"""

from __future__ import annotations

import platform
from typing import Any

from levit_deploy.bundle import MODEL, Bundle
from levit_deploy.engine_entry import EngineEntry
from levit_deploy.machine import describe_machine
from levit_engines.built import BuildRequest, Built, profile_of, refuse_options
from levit_engines.openvino.compiling import DEVICE, OPTIONS, compile_graph, configuration, require_equal
from levit_engines.openvino.library import full_version, import_openvino
from levit_engines.progress import OnProgress

BLOB = "compiled.blob"
_NO_USE = {
    "compute_capabilities": "runs on the CPU",
    "min_batch": "takes every batch size of the graph",
    "opt_batch": "takes every batch size of the graph",
    "max_batch": "takes every batch size of the graph",
    "workspace_mib": "has no workspace",
    "timing_cache": "has no timing cache",
}


def build(
    bundle: Bundle,
    engine: str,
    request: BuildRequest,
    on_progress: OnProgress | None = None,  # noqa: ARG001 (it takes seconds, and OpenVINO tells nothing meanwhile)
) -> Built:
    """Compile the graph for this CPU and take what OpenVINO exports; it can be opened with any number of threads.

    Raises:
        ConfigError: an option has no use here.
        BundleError: OpenVINO refuses the graph, or it is not what the manifest says.
        EnvironmentIncompleteError: OpenVINO is not installed.
    """
    refuse_options(request, engine, _NO_USE)
    openvino = import_openvino()
    name = str(bundle.path / MODEL)
    compiled = compile_graph(openvino, bundle.read(MODEL), request.threads, name=name)
    require_equal(compiled, bundle.manifest, name=name)
    operations = [operation.get_rt_info()["layerType"].astype(str) for operation in _operations(compiled)]
    return Built(
        files={BLOB: compiled.export_model().getvalue()},
        libraries={"openvino": full_version(openvino)},
        requirements=_requirements(openvino),
        profile=profile_of(request, bundle.manifest.batch_sizes),
        options=dict(OPTIONS),
        network={
            "nodes": len(operations),
            "operators": {kind: operations.count(kind) for kind in sorted(set(operations))},
        },
    )


def misfit(openvino: Any, entry: EngineEntry) -> str | None:
    """Why a compiled network must not be loaded here, or None."""
    for name, found in _requirements(openvino).items():
        wanted = entry.requirements.get(name, "nothing")
        if wanted != found:
            return f"it was made for {name} {wanted}, here is {found}"
    if dict(entry.options) != OPTIONS:
        return "it was made with other options"
    return None


def load_blob(openvino: Any, bundle: Bundle, entry: EngineEntry, threads: int | None) -> Any:
    """The compiled network, its hash checked first. Raises BundleError, and RuntimeError when OpenVINO refuses it."""
    return openvino.Core().import_model(bundle.read(entry.files[0]), DEVICE, configuration(threads))


def _requirements(openvino: Any) -> dict[str, str]:
    return {
        "openvino": full_version(openvino),
        "architecture": platform.machine(),
        "cpu": " ".join(describe_machine().cpu_flags),
    }


def _operations(compiled: Any) -> Any:
    return compiled.get_runtime_model().get_ordered_ops()

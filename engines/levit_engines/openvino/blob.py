"""The network as OpenVINO compiled it, kept in the bundle: opening it takes about a third less time.

OpenVINO reads such a file only with the very build that wrote it and on a CPU with the same instruction set, and it
does not notice altered weights: the bundle's hash does, before the file is loaded.
"""

from __future__ import annotations

from typing import Any

from levit_deploy.bundle import MODEL, Bundle
from levit_deploy.engine_entry import EngineEntry
from levit_engines.built import BuildRequest, Built, profile_of, refuse_options
from levit_engines.cpu_build import NO_USE, cpu_requirements
from levit_engines.openvino.compiling import DEVICE, OPTIONS, compile_graph, configuration, require_equal
from levit_engines.openvino.library import full_version, import_openvino
from levit_engines.progress import OnProgress

BLOB = "compiled.blob"


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
    refuse_options(request, engine, NO_USE)
    openvino = import_openvino()
    name = str(bundle.path / MODEL)
    compiled = compile_graph(openvino, bundle.read(MODEL), request.threads, name=name)
    require_equal(compiled, bundle.manifest, name=name)
    operations = [operation.get_rt_info()["layerType"].astype(str) for operation in _operations(compiled)]
    return Built(
        files={BLOB: compiled.export_model().getvalue()},
        libraries={"openvino": full_version(openvino)},
        requirements=cpu_requirements(),
        profile=profile_of(request, bundle.manifest.batch_sizes),
        options=dict(OPTIONS),
        network={
            "nodes": len(operations),
            "operators": {kind: operations.count(kind) for kind in sorted(set(operations))},
        },
    )


def load_blob(openvino: Any, bundle: Bundle, entry: EngineEntry, threads: int | None) -> Any:
    """The compiled network, its hash checked first. Raises BundleError, and RuntimeError when OpenVINO refuses it."""
    return openvino.Core().import_model(bundle.read(entry.files[0]), DEVICE, configuration(threads))


def _operations(compiled: Any) -> Any:
    return compiled.get_runtime_model().get_ordered_ops()

"""The graph as ONNX Runtime rewrites it, kept in the bundle: sessions open several times faster.

The file is bound to the release of ONNX Runtime and to the CPU's instruction set, because the rewriting lays weights
out for the kernels it chose. Weights are in a file of their own, which ONNX Runtime maps instead of reading.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from levit_deploy.bundle import MODEL, Bundle
from levit_deploy.engine_entry import EngineEntry, Profile
from levit_deploy.errors import ConfigError
from levit_deploy.onnxruntime_session import SessionSettings, import_onnxruntime, open_session
from levit_engines.built import BuildRequest, Built, refuse_options
from levit_engines.cpu_build import NO_USE, cpu_requirements
from levit_engines.progress import OnProgress

GRAPH, WEIGHTS = "optimized.onnx", "weights.bin"
# Smaller constants stay in the graph: shapes and axes are read while it is loaded.
FEWEST_EXTERNAL_BYTES = 1024


def build(
    bundle: Bundle,
    engine: str,
    request: BuildRequest,
    on_progress: OnProgress | None = None,  # noqa: ARG001 (it takes a second)
) -> Built:
    """Let ONNX Runtime optimise the graph for this CPU, and take what it writes.

    Raises ConfigError for another engine than "onnxruntime" or an option without use, and what `open_session` raises.
    """
    if engine != "onnxruntime":
        raise ConfigError(f"{engine} needs no building: levit-verify and levit-classify open it directly")
    refuse_options(request, engine, NO_USE)
    sizes = bundle.manifest.batch_sizes
    with tempfile.TemporaryDirectory(prefix="levit-build-") as folder:
        settings = SessionSettings(
            threads=request.threads,
            save_optimized=Path(folder, GRAPH),
            entries={
                "session.optimized_model_external_initializers_file_name": WEIGHTS,
                "session.optimized_model_external_initializers_min_size_in_bytes": str(FEWEST_EXTERNAL_BYTES),
            },
        )
        open_session(bundle.read(MODEL), settings, name=str(bundle.path / MODEL))
        files = {name: Path(folder, name).read_bytes() for name in (GRAPH, WEIGHTS) if Path(folder, name).is_file()}
    return Built(
        files=files,
        libraries=libraries(),
        requirements=cpu_requirements(),
        profile=Profile(minimum=sizes.minimum, optimum=sizes.minimum, maximum=sizes.maximum),
        options={"graph optimisation": "all"},
        network=_network(files[GRAPH]),
    )


def open_optimized(bundle: Bundle, entry: EngineEntry, threads: int | None) -> object:
    """A session on the optimised graph, whose hashes are checked first. Raises BundleError."""
    for file in entry.files:
        bundle.check(file)
    settings = SessionSettings(threads=threads, optimized=False)
    return open_session(bundle.path / entry.files[0], settings)


def libraries() -> dict[str, str]:
    """What an optimised graph is bound to."""
    return {"onnxruntime": import_onnxruntime().__version__}


def _network(graph: bytes) -> Mapping[str, object]:
    import onnx

    nodes = onnx.load_model_from_string(graph).graph.node
    kinds = [f"{node.domain}::{node.op_type}" if node.domain else node.op_type for node in nodes]
    return {"nodes": len(kinds), "operators": {kind: kinds.count(kind) for kind in sorted(set(kinds))}}

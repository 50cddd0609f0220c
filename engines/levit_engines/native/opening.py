"""Opening a bundle on the native kernels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from levit_deploy.bundle import MODEL, Bundle
from levit_deploy.errors import BundleError, ConfigError
from levit_deploy.machine import package_versions
from levit_deploy.threads import available_threads
from levit_engines.bundle_runner import require_specification
from levit_engines.native.library import Network, load_library
from levit_engines.native.parameters import PIXELS, shapes
from levit_engines.native.quantized import QuantizedWeights, split_quantized
from levit_engines.native.runner import NativeRunner
from levit_engines.parameters import fit, read_parameters


def open_runner(bundle: Bundle, engine: str, threads: int | None = None, *, instruction_set: str = "") -> NativeRunner:
    """The network of `bundle`, with the constants of its graph, on the best `instruction_set` of this CPU.

    Raises what `levit_engines.open_runner` does.
    """
    require_specification(bundle)
    library = load_library()
    config, name = bundle.manifest.config, str(bundle.path / MODEL)
    wanted = shapes(config)
    takes_pixels = bundle.manifest.input.dtype == "uint8"
    graph = bundle.read(MODEL)
    quantized: dict[str, QuantizedWeights] = {}
    if bundle.manifest.precision == "int8":
        if bundle.manifest.target != "cpu":
            raise ConfigError(
                f"{bundle.path} is int8 for GPUs, the engine {engine} takes that for CPUs: export it with --target cpu"
            )
        graph, quantized = split_quantized(graph, name=name)
    for path, layer in quantized.items():
        if layer.values.shape != wanted.get(path):
            raise BundleError(f"{name}: {path} is of another network; export it again")
    in_floats = {path: shape for path, shape in wanted.items() if path not in quantized}
    values = fit(read_parameters(graph, name=name), in_floats | (PIXELS if takes_pixels else {}), name=name)
    count = threads or available_threads()
    network = Network(
        library,
        config,
        [quantized[path] if path in quantized else values[path] for path in wanted],
        threads=count,
        instruction_set=instruction_set,
    )
    provenance = {
        "engine_version": package_versions(["levit-deploy"])["levit-deploy"] or "unknown",
        "threads": str(count),
        "instruction_set": network.instruction_set,
        "network": "fused, from the constants of the graph",
        "quantized_layers": str(len(quantized)),
    }
    normalized = byte_values(*(values[path] for path in PIXELS)) if takes_pixels else None
    return NativeRunner(bundle, network, engine=engine, provenance=provenance, normalized=normalized)


def byte_values(scale: NDArray[np.float32], shift: NDArray[np.float32]) -> NDArray[np.float32]:
    """(3, 256): what every byte of each channel becomes in a graph that takes pixels; both given are (3, 1, 1)."""
    values: NDArray[np.float32] = np.arange(256, dtype=np.float32) * scale[:, 0] + shift[:, 0]
    return np.ascontiguousarray(values)

"""Opening a bundle on the native kernels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from levit_deploy.bundle import MODEL, Bundle
from levit_deploy.machine import package_versions
from levit_deploy.preprocessing import Preprocessing, normalize
from levit_deploy.threads import available_threads
from levit_engines.bundle_runner import require_specification
from levit_engines.native.library import Network, load_library
from levit_engines.native.parameters import shapes
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
    values = fit(read_parameters(bundle.read(MODEL), name=name), wanted, name=name)
    count = threads or available_threads()
    network = Network(
        library, config, [values[path] for path in wanted], threads=count, instruction_set=instruction_set
    )
    provenance = {
        "engine_version": package_versions(["levit-deploy"])["levit-deploy"] or "unknown",
        "threads": str(count),
        "instruction_set": network.instruction_set,
        "network": "fused, from the constants of the graph",
    }
    normalized = None
    if bundle.manifest.input.dtype == "uint8":
        normalized = byte_values(bundle.manifest.preprocessing)
    return NativeRunner(bundle, network, engine=engine, provenance=provenance, normalized=normalized)


def byte_values(contract: Preprocessing) -> NDArray[np.float32]:
    """(3, 256): what every byte of each channel becomes, as `levit_deploy.preprocessing.normalize` has it."""
    side = contract.image_size
    values = np.empty((3, 256), np.float32)
    for byte in range(256):
        values[:, byte] = normalize(np.full((side, side, 3), byte, np.uint8), contract)[:, 0, 0]
    return values

"""Opening a bundle in PyTorch."""

from __future__ import annotations

from levit_deploy.bundle import Bundle
from levit_deploy.errors import EnvironmentIncompleteError
from levit_deploy.threads import available_threads
from levit_engines.bundle_runner import require_specification
from levit_engines.torch.compiling import compile_network
from levit_engines.torch.network import rebuild
from levit_engines.torch.runner import ProcessThreads, TorchRunner, call

COMPILED = "torch-compile"


def open_runner(bundle: Bundle, engine: str, threads: int | None = None) -> TorchRunner:
    """The network of `bundle` on the CPU; "torch-compile" compiles it now, for every batch size that is allowed.

    That takes from seconds to minutes, and leaves its programs in TORCHINDUCTOR_CACHE_DIR (by default below the
    temporary directory), where the next process finds them. Raises what `levit_engines.open_runner` does.
    """
    require_specification(bundle)
    try:
        import torch

        network = rebuild(bundle)
    except ImportError as error:
        raise EnvironmentIncompleteError(
            f'PyTorch cannot be imported ({error}): pip install "levit-deploy[export]"'
        ) from error
    taken = ProcessThreads(threads or available_threads())
    taken.take()
    try:
        if engine == COMPILED:
            network = compile_network(network, bundle.manifest.input, bundle.manifest.batch_sizes, call)
    except BaseException:
        taken.give_back()
        raise
    provenance = {
        "engine_version": torch.__version__,
        "threads": str(taken.count),
        "network": "fused, rebuilt from the constants of the graph",
    }
    return TorchRunner(bundle, network, engine=engine, threads=taken, provenance=provenance)

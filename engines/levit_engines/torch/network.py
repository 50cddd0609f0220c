"""The fused network, rebuilt from the constants of the bundle's graph. PyTorch is imported when it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from levit_deploy.bundle import MODEL, Bundle
from levit_engines.parameters import fit, read_parameters

if TYPE_CHECKING:
    from torch import nn

# Of the network inside the wrapper that normalises pixels (levit_export.tracing.WRAPPED).
_INSIDE = "network."


def rebuild(bundle: Bundle) -> nn.Module:
    """The network of `bundle` with the weights of its graph: images as the graph takes them -> logits (B, K).

    It comes from the same constants as the graph, not from its operations: what an exporter did to those is not in it.

    Raises:
        BundleError: a constant of the graph is none of the network's parameters, or one of those is missing.
    """
    import torch

    from levit_deploy.fusion import fuse
    from levit_deploy.model import Levit

    manifest = bundle.manifest
    with torch.device("meta"):  # no memory, and no numbers drawn from the process's random generator
        network: nn.Module = fuse(Levit(manifest.config))
        if manifest.input.dtype == "uint8":
            from levit_export.tracing import DeployedNetwork

            network = DeployedNetwork(network, pixels=manifest.preprocessing, top_k=None)
    state = network.state_dict()
    name = str(bundle.path / MODEL)
    shapes = {path.removeprefix(_INSIDE): tuple(value.shape) for path, value in state.items()}
    values = fit(read_parameters(bundle.read(MODEL), name=name), shapes, name=name)
    loaded = {path: torch.from_numpy(values[path.removeprefix(_INSIDE)]) for path in state}
    network.load_state_dict(loaded, assign=True)
    return network.eval()

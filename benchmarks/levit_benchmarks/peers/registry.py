"""The peers by the name that `--against` takes. Importing this imports none of them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType

from levit_benchmarks.bench.subject import Peer
from levit_deploy.errors import ConfigError

_NAMES = (
    "timm-eager",
    "timm-compile",
    "timm-compile-max-autotune",
    "timm-onnxruntime",
    "transformers-onnxruntime",
    "transformers-openvino",
    "efficientnet-b0",
    "efficientnet-b1",
    "efficientnet-b2",
    "efficientnet-b3",
    "efficientnet-b4",
    "deit-tiny",
    "deit-small",
)
PEERS: Mapping[str, str] = MappingProxyType(
    {name: f"levit_benchmarks.peers.{name.replace('-', '_')}" for name in _NAMES}
)
"""Name -> module, which offers PEER."""


def load_peer(name: str) -> Peer:
    """The peer of that name; ConfigError, listing the choices, where there is none."""
    if name not in PEERS:
        raise ConfigError(f"unknown peer {name!r}: choose from {', '.join(PEERS)}")
    peer: Peer = import_module(PEERS[name]).PEER
    return peer

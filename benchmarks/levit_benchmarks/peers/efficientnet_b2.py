"""EfficientNet-B2 of timm at its own 260 pixels, normalisations folded, in ONNX Runtime."""

from __future__ import annotations

from levit_benchmarks.peers.library_peer import LibraryPeer
from levit_benchmarks.peers.timm_network import TimmNetwork

PEER = LibraryPeer(
    name="efficientnet-b2",
    source=TimmNetwork(network="EfficientNet-B2", model="efficientnet_b2", image_size=260),
)

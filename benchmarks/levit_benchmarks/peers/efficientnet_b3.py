"""EfficientNet-B3 of timm at its own 300 pixels, normalisations folded, in ONNX Runtime."""

from __future__ import annotations

from levit_benchmarks.peers.library_peer import LibraryPeer
from levit_benchmarks.peers.timm_network import TimmNetwork

PEER = LibraryPeer(
    name="efficientnet-b3",
    source=TimmNetwork(network="EfficientNet-B3", model="efficientnet_b3", image_size=300),
)

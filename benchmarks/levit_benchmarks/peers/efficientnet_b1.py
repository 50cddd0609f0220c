"""EfficientNet-B1 of timm at its own 240 pixels, normalisations folded, in ONNX Runtime."""

from __future__ import annotations

from levit_benchmarks.peers.library_peer import LibraryPeer
from levit_benchmarks.peers.timm_network import TimmNetwork

PEER = LibraryPeer(
    name="efficientnet-b1",
    source=TimmNetwork(network="EfficientNet-B1", model="efficientnet_b1", image_size=240),
)

"""EfficientNet-B0 of timm at its own 224 pixels, normalisations folded, in ONNX Runtime."""

from __future__ import annotations

from levit_benchmarks.peers.library_peer import LibraryPeer
from levit_benchmarks.peers.timm_network import TimmNetwork

PEER = LibraryPeer(
    name="efficientnet-b0",
    source=TimmNetwork(network="EfficientNet-B0", model="efficientnet_b0", image_size=224),
)

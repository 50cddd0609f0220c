"""EfficientNet-B4 of timm at its own 380 pixels, normalisations folded, in ONNX Runtime."""

from __future__ import annotations

from levit_benchmarks.peers.library_peer import LibraryPeer
from levit_benchmarks.peers.timm_network import TimmNetwork

PEER = LibraryPeer(
    name="efficientnet-b4",
    source=TimmNetwork(network="EfficientNet-B4", model="efficientnet_b4", image_size=380),
)

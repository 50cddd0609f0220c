"""DeiT-Small (distilled) of timm, in ONNX Runtime."""

from __future__ import annotations

from levit_benchmarks.peers.library_peer import LibraryPeer
from levit_benchmarks.peers.timm_network import TimmNetwork

PEER = LibraryPeer(
    name="deit-small",
    source=TimmNetwork(network="DeiT-Small", model="deit_small_distilled_patch16_224", image_size=224, crop=0.9),
)

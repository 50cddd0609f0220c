"""DeiT-Tiny (distilled) of timm, in ONNX Runtime."""

from __future__ import annotations

from levit_benchmarks.peers.library_peer import LibraryPeer
from levit_benchmarks.peers.timm_network import TimmNetwork

PEER = LibraryPeer(
    name="deit-tiny",
    source=TimmNetwork(network="DeiT-Tiny", model="deit_tiny_distilled_patch16_224", image_size=224, crop=0.9),
)

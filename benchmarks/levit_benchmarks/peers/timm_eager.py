"""timm's LeViT, its normalisations fused by timm, in eager PyTorch."""

from __future__ import annotations

from levit_benchmarks.peers.levit import TimmLevit
from levit_benchmarks.peers.library_peer import LibraryPeer

PEER = LibraryPeer(name="timm-eager", source=TimmLevit(), engine="torch-eager")

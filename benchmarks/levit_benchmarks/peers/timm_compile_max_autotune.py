"""timm's LeViT, its normalisations fused by timm, through torch.compile at its most thorough."""

from __future__ import annotations

from levit_benchmarks.peers.levit import TimmLevit
from levit_benchmarks.peers.library_peer import LibraryPeer

PEER = LibraryPeer(name="timm-compile-max-autotune", source=TimmLevit(), engine="torch-compile-max-autotune")

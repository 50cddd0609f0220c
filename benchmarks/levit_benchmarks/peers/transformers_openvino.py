"""transformers' LeViT exported the usual way, in OpenVINO."""

from __future__ import annotations

from levit_benchmarks.peers.levit import TransformersLevit
from levit_benchmarks.peers.library_peer import LibraryPeer

PEER = LibraryPeer(name="transformers-openvino", source=TransformersLevit(), engine="openvino")

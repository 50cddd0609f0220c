"""Names of mmpretrain and of mmcls 1.x.

Blocks are numbered within a stage; a downsampler begins its stage. Files of its deployment tool have a fused
backbone and an unfused head. Source: mmpretrain 1.2.0, `models/backbones/levit.py`.
"""

from __future__ import annotations

import re
from functools import partial

from levit_deploy.checkpoints.checkpoint import Origin
from levit_deploy.checkpoints.layout import BlockKind, Layout, find_blocks_in_order

_BLOCK = r"(backbone\.stages\.(\d{1,3})\.(\d{1,3})"
_BLOCKS = {
    BlockKind.ATTENTION: re.compile(_BLOCK + r"\.block)\.(?:qkv|proj|attention_bias)"),
    BlockKind.DOWNSAMPLE: re.compile(_BLOCK + r")\.(?:kv|q|proj|attention_bias)"),
    BlockKind.MLP: re.compile(_BLOCK + r"\.block)\.linear[12]\."),
}
_STEM = "backbone.patch_embed.patch_embed."

MMPRETRAIN = Layout(
    origin=Origin.MMPRETRAIN,
    prefix=_STEM,
    headless_prefix="patch_embed.patch_embed.",
    stem=(f"{_STEM}0", f"{_STEM}2", f"{_STEM}4", f"{_STEM}6"),
    heads=("head.head", "head.head_dist"),
    layers={
        BlockKind.ATTENTION: {"qkv": "qkv", "projection": "proj.1"},
        BlockKind.DOWNSAMPLE: {"key_value": "kv", "query": "q.1", "projection": "proj.1"},
        BlockKind.MLP: {"expand": "linear1", "contract": "linear2"},
    },
    stem_linear="conv",
    block_linear="linear",
    head_linear="linear",
    norm="bn",
    find_blocks=partial(find_blocks_in_order, _BLOCKS),
)

"""Names of the authors' code, which timm before 0.8.10 and the PaddleClas port have too.

Blocks are numbered through all stages; a downsampler ends its stage. Source: facebookresearch/LeViT,
`levit.py`.
"""

from __future__ import annotations

import re
from functools import partial

from levit_deploy.checkpoints.checkpoint import Origin
from levit_deploy.checkpoints.layout import BlockKind, Layout, find_blocks_in_order

_BLOCKS = {
    BlockKind.ATTENTION: re.compile(r"(blocks\.(\d{1,3})\.m)\.(?:qkv|proj|attention_bias)"),
    BlockKind.DOWNSAMPLE: re.compile(r"(blocks\.(\d{1,3}))\.(?:kv|q|proj|attention_bias)"),
    BlockKind.MLP: re.compile(r"(blocks\.(\d{1,3})\.m)\.[02]\."),
}

OFFICIAL = Layout(
    origin=Origin.OFFICIAL,
    prefix="patch_embed.0.",
    stem=("patch_embed.0", "patch_embed.2", "patch_embed.4", "patch_embed.6"),
    heads=("head", "head_dist"),
    layers={
        BlockKind.ATTENTION: {"qkv": "qkv", "projection": "proj.1"},
        BlockKind.DOWNSAMPLE: {"key_value": "kv", "query": "q.1", "projection": "proj.1"},
        BlockKind.MLP: {"expand": "0", "contract": "2"},
    },
    stem_linear="c",
    block_linear="c",
    head_linear="l",
    norm="bn",
    find_blocks=partial(find_blocks_in_order, _BLOCKS),
)

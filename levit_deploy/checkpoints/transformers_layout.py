"""Names of Hugging Face transformers (`LevitForImageClassification`, also `…WithTeacher`).

Layers are numbered within a stage; a downsampler ends its stage. Source: transformers, `modeling_levit.py`.
"""

from __future__ import annotations

import re
from functools import partial

from levit_deploy.checkpoints.checkpoint import Origin
from levit_deploy.checkpoints.layout import BlockKind, Layout, find_blocks_in_order

_LAYER = r"(levit\.encoder\.stages\.(\d{1,3})\.layers\.(\d{1,3})"
_BLOCKS = {
    BlockKind.ATTENTION: re.compile(_LAYER + r"\.module)\.(?:queries_keys_values|projection|attention_bias)"),
    BlockKind.DOWNSAMPLE: re.compile(_LAYER + r")\.(?:keys_values|queries|projection|attention_bias)"),
    BlockKind.MLP: re.compile(_LAYER + r"\.module)\.linear_(?:up|down)\."),
}
_STEM = "levit.patch_embeddings.embedding_layer_"

TRANSFORMERS = Layout(
    origin=Origin.TRANSFORMERS,
    prefix="levit.patch_embeddings.",
    headless_prefix="patch_embeddings.",
    stem=(f"{_STEM}1", f"{_STEM}2", f"{_STEM}3", f"{_STEM}4"),
    heads=("classifier", "classifier_distill"),
    layers={
        BlockKind.ATTENTION: {"qkv": "queries_keys_values", "projection": "projection"},
        BlockKind.DOWNSAMPLE: {"key_value": "keys_values", "query": "queries", "projection": "projection"},
        BlockKind.MLP: {"expand": "linear_up", "contract": "linear_down"},
    },
    stem_linear="convolution",
    block_linear="linear",
    head_linear="linear",
    norm="batch_norm",
    find_blocks=partial(find_blocks_in_order, _BLOCKS),
)

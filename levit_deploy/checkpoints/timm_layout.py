"""Names of timm since 0.8.10 (linear and convolution mode alike), in both directions.

Its modules are arranged as ours are. Source: timm 1.0, `models/levit.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from torch import Tensor

from levit_deploy.checkpoints.checkpoint import Origin
from levit_deploy.checkpoints.layout import FOLDED, BlockKind, Blocks, Layout
from levit_deploy.errors import ConfigError
from levit_deploy.model import Levit

_BLOCKS = {
    re.compile(r"(stages\.\d{1,3}\.blocks\.\d{1,3})\.(attn)\."): ("attention", BlockKind.ATTENTION),
    re.compile(r"(stages\.\d{1,3}\.blocks\.\d{1,3})\.(mlp)\."): ("mlp", BlockKind.MLP),
    re.compile(r"(stages\.\d{1,3}\.downsample)\.(attn_downsample)\."): ("attention", BlockKind.DOWNSAMPLE),
    re.compile(r"(stages\.\d{1,3}\.downsample)\.(mlp)\."): ("mlp", BlockKind.MLP),
}


def _find_blocks(keys: Iterable[str]) -> Blocks:
    blocks: dict[str, tuple[str, BlockKind]] = {}
    for key in keys:
        for pattern, (name, kind) in _BLOCKS.items():
            if match := pattern.match(key):
                blocks[".".join(match.groups())] = (f"{match.group(1)}.{name}", kind)
    return blocks


TIMM = Layout(
    origin=Origin.TIMM,
    prefix="stem.conv1.",
    stem=("stem.conv1", "stem.conv2", "stem.conv3", "stem.conv4"),
    heads=("head", "head_dist"),
    layers={
        BlockKind.ATTENTION: {"qkv": "qkv", "projection": "proj.ln"},
        BlockKind.DOWNSAMPLE: {"key_value": "kv", "query": "q.ln", "projection": "proj.ln"},
        BlockKind.MLP: {"expand": "ln1", "contract": "ln2"},
    },
    stem_linear="linear",
    block_linear="linear",
    head_linear="linear",
    norm="bn",
    find_blocks=_find_blocks,
)


def state_dict_for_timm(model: Levit) -> dict[str, Tensor]:
    """The weights of `model` under timm's names, for `timm.create_model("levit_…")`; tensors are shared.

    timm's models in linear mode load it strictly when `model` has two heads, as they always build two. Raises
    ConfigError for a model with folded normalisations, for which timm has no unfused form to load into.
    """
    keys = {name: key for key, name in TIMM.names(_timm_block_keys(model)).items() if FOLDED not in name}
    state = model.state_dict()
    missing = [name for name in state if name not in keys]
    if missing:
        raise ConfigError(f"{missing[0]!r} is of a folded layer: only an unfused model has a form in timm")
    return {keys[name]: tensor for name, tensor in state.items()}


def _timm_block_keys(model: Levit) -> Iterable[str]:
    """A key of every block that timm's copy of `model` has."""
    for stage, depth in enumerate(model.config.depths):
        if stage:
            yield from (f"stages.{stage}.downsample.{block}." for block in ("attn_downsample", "mlp"))
        for block in range(depth):
            yield from (f"stages.{stage}.blocks.{block}.{part}." for part in ("attn", "mlp"))

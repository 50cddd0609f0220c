"""Tell from its keys which code base a state dict comes from."""

from __future__ import annotations

from collections.abc import Iterable

from levit_deploy.checkpoints.layout import Layout
from levit_deploy.checkpoints.mmpretrain_layout import MMPRETRAIN
from levit_deploy.checkpoints.official_layout import OFFICIAL
from levit_deploy.checkpoints.timm_layout import TIMM
from levit_deploy.checkpoints.transformers_layout import TRANSFORMERS
from levit_deploy.errors import CheckpointError

LAYOUTS = (OFFICIAL, TIMM, TRANSFORMERS, MMPRETRAIN)


def detect_layout(keys: Iterable[str]) -> Layout:
    """The layout of a state dict with these keys; CheckpointError if it is of no LeViT classifier."""
    keys = tuple(keys)
    for layout in LAYOUTS:
        headless = layout.headless_prefix
        if headless is not None and _any_starts(keys, headless):
            raise CheckpointError(headless_message(layout))
        if _any_starts(keys, layout.prefix):
            if not _any_starts(keys, *(f"{head}." for head in layout.heads)):
                raise CheckpointError(headless_message(layout))
            return layout
    examples = ", ".join(f"{layout.example_key!r} ({layout.origin.value})" for layout in LAYOUTS)
    found = ", ".join(repr(key) for key in keys[:3])
    raise CheckpointError(f"is not a LeViT: expected keys like {examples}, found {found}; pass a LeViT checkpoint")


def headless_message(layout: Layout) -> str:
    """What to say of a backbone without its classifier."""
    return (
        f"is a {layout.origin.value} LeViT without its classification head: expected keys like "
        f"'{layout.heads[0]}.{layout.head_linear}.weight', found none; pass that of the whole classifier"
    )


def _any_starts(keys: Iterable[str], *prefixes: str) -> bool:
    return any(key.startswith(prefixes) for key in keys)

"""Translate the tensor names of an origin to ours; what the origins have in common.

A layout is data: how an origin names the layers of each kind of block, and the parts of a layer. From that
and the blocks found in a file, `Layout.names` lists every key the file may have. Nothing is matched by
position in the file.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from torch import Tensor

from levit_deploy.checkpoints.checkpoint import Origin
from levit_deploy.errors import CheckpointError

NORM_LEAVES = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
HEADS = ("head", "distillation_head")
# Stands in our names for the linear part of a layer whose normalisation was folded into it before saving.
FOLDED = ".folded."


class BlockKind(Enum):
    """The kinds of blocks; each has its own layers."""

    ATTENTION = "attention"
    DOWNSAMPLE = "downsampling attention"
    MLP = "MLP"


Blocks = Mapping[str, tuple[str, BlockKind]]
"""Path of a block in the file -> its path in our model, and its kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How one origin names its tensors.

    `prefix` begins the stem keys of this origin and of no other; `headless_prefix` those of its files without
    a classifier, if they differ. `layers` maps our layer names to the origin's. The `*_linear` fields and
    `norm` are the names of a layer's two parts.
    """

    origin: Origin
    prefix: str
    headless_prefix: str | None = None
    stem: tuple[str, str, str, str]
    heads: tuple[str, str]
    layers: Mapping[BlockKind, Mapping[str, str]]
    stem_linear: str
    block_linear: str
    head_linear: str
    norm: str
    find_blocks: Callable[[Iterable[str]], Blocks]

    @property
    def example_key(self) -> str:
        """A key that every unfused file of this origin has."""
        return f"{self.stem[0]}.{self.stem_linear}.weight"

    def names(self, keys: Iterable[str]) -> dict[str, str]:
        """Every key that a file with the blocks of `keys` may have -> our name for it."""
        names: dict[str, str] = {}
        for number, path in enumerate(self.stem, start=1):
            names |= self._layer_names(path, f"stem.conv{number}", self.stem_linear)
        for path, (native, kind) in self.find_blocks(keys).items():
            for native_layer, layer in self.layers[kind].items():
                names |= self._layer_names(f"{path}.{layer}", f"{native}.{native_layer}", self.block_linear)
            if kind is not BlockKind.MLP:
                names[f"{path}.attention_biases"] = f"{native}.bias.table"
                names[f"{path}.attention_bias_idxs"] = f"{native}.bias.offsets"
        for path, native in zip(self.heads, HEADS, strict=True):
            names |= self._layer_names(path, native, self.head_linear)
            names[f"{path}.{self.head_linear}.bias"] = f"{native}.linear.bias"
        return names

    def _layer_names(self, path: str, native: str, linear: str) -> dict[str, str]:
        names = {f"{path}.{self.norm}.{leaf}": f"{native}.norm.{leaf}" for leaf in NORM_LEAVES}
        names[f"{path}.{linear}.weight"] = f"{native}.linear.weight"
        return names | {f"{path}.{leaf}": f"{native}{FOLDED}{leaf}" for leaf in ("weight", "bias")}


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeTensors:
    """The tensors of a file under our names.

    `folded` are the layers whose normalisation the file has already folded away. `file_keys` maps our names
    to the file's, also for tensors that should be in the file and are not.
    """

    origin: Origin
    tensors: Mapping[str, Tensor]
    folded: frozenset[str]
    file_keys: Mapping[str, str]

    def file_key(self, name: str) -> str:
        """What the tensor we call `name` is called in this file."""
        return self.file_keys.get(name, name)

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.tensors:
            raise CheckpointError(
                f"key {self.file_key(name)!r} is missing, which every {self.origin.value} LeViT has; "
                "the file is incomplete or of another network"
            )
        return self.tensors[name]


def translate(layout: Layout, state: Mapping[str, Tensor]) -> NativeTensors:
    """Give every tensor of `state` our name; raise CheckpointError on a key that has none."""
    names = layout.names(state)
    _require_known(layout, state, names)
    present = {names[key]: tensor for key, tensor in state.items()}
    folded = frozenset(name.rpartition(FOLDED)[0] for name in present if FOLDED in name)
    for key in state:
        layer = re.sub(r"\.(linear|norm)\.\w+$", "", names[key])
        if FOLDED not in names[key] and layer in folded:
            raise CheckpointError(
                f"key {key!r} is of an unfused layer, but the file also has the fused form of that layer; "
                "expected one of the two"
            )
    file_keys = {
        name.replace(FOLDED, ".linear."): key
        for key, name in names.items()
        if (FOLDED in name) == (re.sub(r"\.(linear|norm|folded)\.\w+$", "", name) in folded)
    }
    tensors = {name.replace(FOLDED, ".linear."): tensor for name, tensor in present.items()}
    return NativeTensors(origin=layout.origin, tensors=tensors, folded=folded, file_keys=file_keys)


def _require_known(layout: Layout, state: Mapping[str, Tensor], names: Mapping[str, str]) -> None:
    unknown = [key for key in state if key not in names]
    if not unknown:
        return
    similar = difflib.get_close_matches(unknown[0], names, n=1, cutoff=0.0)
    more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
    raise CheckpointError(
        f"unexpected key {unknown[0]!r}{more}: no {layout.origin.value} LeViT checkpoint has it; "
        f"the nearest expected key is {similar[0]!r}"
    )


def find_blocks_in_order(patterns: Mapping[BlockKind, re.Pattern[str]], keys: Iterable[str]) -> Blocks:
    """Locate blocks that are numbered through: their own keys and their order say what each is.

    Group 1 of a pattern is the path of the block, the other groups its number or numbers.
    """
    found: dict[tuple[int, ...], tuple[str, BlockKind]] = {}
    for key in keys:
        for kind, pattern in patterns.items():
            if match := pattern.match(key):
                path, *numbers = match.groups()
                position = tuple(int(number) for number in numbers)
                if found.setdefault(position, (path, kind)) != (path, kind):
                    other = found[position][1].value
                    raise CheckpointError(f"key {key!r} is of an {kind.value} block, but {path!r} is an {other}")
    ordered = sorted(found)
    _require_contiguous(ordered, found)
    return _name_sequence([found[position] for position in ordered])


def _require_contiguous(
    positions: list[tuple[int, ...]], found: Mapping[tuple[int, ...], tuple[str, BlockKind]]
) -> None:
    width = len(positions[0]) if positions else 1
    previous: tuple[int, ...] = (*(0,) * (width - 1), -1)
    for position in positions:
        *stage, last = previous
        following = [(*stage, last + 1)] + [(number + 1, 0) for number in stage]
        if position not in following:
            raise CheckpointError(f"the block before {found[position][0]!r} is missing; the file is incomplete")
        previous = position


def _name_sequence(blocks: Iterable[tuple[str, BlockKind]]) -> Blocks:
    """Our paths for blocks in the order of the forward pass: an MLP belongs to the attention before it."""
    named: dict[str, tuple[str, BlockKind]] = {}
    stage, block = 0, 0
    waiting: str | None = None
    for path, kind in blocks:
        if (kind is BlockKind.MLP) is (waiting is None):
            wanted = "an attention" if waiting is None else "an MLP"
            raise CheckpointError(f"block {path!r} is an {kind.value} where {wanted} block is expected")
        if kind is BlockKind.ATTENTION:
            waiting, native = f"stages.{stage}.blocks.{block}.mlp", f"stages.{stage}.blocks.{block}.attention"
            block += 1
        elif kind is BlockKind.DOWNSAMPLE:
            stage, block = stage + 1, 0
            waiting, native = f"stages.{stage}.downsample.mlp", f"stages.{stage}.downsample.attention"
        else:
            assert waiting is not None
            native, waiting = waiting, None
        named[path] = (native, kind)
    return named

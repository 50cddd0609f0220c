"""Load a checkpoint of any origin into the reference model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from levit_deploy.architectures import LevitConfig, config_for
from levit_deploy.checkpoints.checkpoint import Checkpoint
from levit_deploy.checkpoints.containers import StateDict, find_state_dict
from levit_deploy.checkpoints.detection import detect_layout
from levit_deploy.checkpoints.files import read_file
from levit_deploy.checkpoints.inference import infer_config
from levit_deploy.checkpoints.interpolation import resize_bias_table
from levit_deploy.checkpoints.layout import NativeTensors, translate
from levit_deploy.checkpoints.validation import ValidatedWeights, build_model, validate_weights
from levit_deploy.errors import CheckpointError


def load_checkpoint(path: Path, *, arch: str | None = None, image_size: int | None = None) -> Checkpoint:
    """Read `path` (official, timm, transformers or mmpretrain) without running anything from it.

    Variant, class count, image size and heads follow from the tensors; `arch` only has to agree. With another
    `image_size` the attention biases are interpolated, and a note says so.

    Raises:
        CheckpointError: The file is unreadable, unsafe, damaged, of another network or not of `arch`.
        ConfigError: `arch` or `image_size` is one that no LeViT can have.
    """
    path = Path(path)
    wanted_arch = None if arch is None else config_for(arch).arch
    if image_size is not None:
        config_for("128S", image_size=image_size)  # complain about an impossible size before reading
    try:
        return _load(path, wanted_arch, image_size)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _load(path: Path, wanted_arch: str | None, image_size: int | None) -> Checkpoint:
    contents = read_file(path)
    state = find_state_dict(contents.loaded)
    native = translate(detect_layout(state.tensors), state.tensors)
    stored = infer_config(native)
    if wanted_arch is not None and wanted_arch != stored.arch:
        raise CheckpointError(
            f"is of LeViT-{stored.arch}, not of LeViT-{wanted_arch} as --arch says; change one of them"
        )
    weights = validate_weights(native, stored)
    config = stored if image_size is None else replace(stored, image_size=image_size)
    model = build_model(config, native.folded)
    # Batch counters are absent on purpose; validation has made sure that nothing else is.
    model.load_state_dict(_resized(weights.tensors, stored, config), strict=False)
    return Checkpoint(
        model=model.eval().requires_grad_(requires_grad=False),
        origin=native.origin,
        sha256=contents.sha256,
        file_name=path.name,
        container=state.container,
        notes=tuple(_notes(state, native, weights, stored, config)),
    )


def _resized(tensors: Mapping[str, Tensor], stored: LevitConfig, config: LevitConfig) -> dict[str, Tensor]:
    """The tensors with their bias tables brought to the image size of `config`."""
    if stored.image_size == config.image_size:
        return dict(tensors)
    resized = dict(tensors)
    for name, tensor in tensors.items():
        if name.endswith(".bias.table"):
            stage = int(name.split(".")[1])
            # A downsampler looks at the grid of the stage before its own.
            resolution = config.resolutions[stage - (".downsample." in name)]
            resized[name] = resize_bias_table(tensor, resolution)
    return resized


def _notes(
    state: StateDict,
    native: NativeTensors,
    weights: ValidatedWeights,
    stored: LevitConfig,
    config: LevitConfig,
) -> Iterator[str]:
    yield from state.notes
    if weights.converted_dtypes:
        yield f"Weights stored as {' and '.join(weights.converted_dtypes)} were converted to float32."
    if native.folded:
        yield (f"{len(native.folded)} layers of the file were already fused with their normalisation.")
    if not stored.distillation:
        yield "The file has no distillation head: the logits are those of the one head, not the mean of two."
    if config.image_size != stored.image_size:
        yield (
            f"The attention biases were interpolated from {stored.image_size} to {config.image_size} pixels, "
            "which no origin of LeViT defines: measure the accuracy, and fine-tune at the new size."
        )

"""A LeViT that was really trained: on the handwritten digits that scikit-learn ships, minutes on two cores.

Untrained weights say little of what rounding costs a network that has learnt something. This one is timm's, so that
its checkpoint is imported like any other. It writes, below one folder:

    levit-128S.safetensors   the weights
    labels.txt               the ten classes
    train/CLASS/*.png        what it was trained on: two of three images
    held-out/CLASS/*.png     what it never saw

    python -m levit_benchmarks.trained_digits --arch 128S -o digits
    levit-export --checkpoint digits/levit-128S.safetensors --labels digits/labels.txt -o digits/fp32
    levit-export --checkpoint digits/levit-128S.safetensors --labels digits/labels.txt --int8 --calibration digits/train
    levit-eval levit-128S-int8 --data digits/held-out --against digits/fp32

Source of the images: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998; 1797 images of
8 x 8 pixels. What they cannot show is ImageNet: ten classes, grey, nothing but strokes.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from levit_benchmarks.peers.compatibility import make_torchvision_importable
from levit_benchmarks.progress import ProgressDisplay
from levit_deploy.architectures import VARIANTS
from levit_deploy.commandline import make_parser, positive_int, print_line, require_packages, run_command
from levit_deploy.errors import ConfigError
from levit_deploy.preprocessing import normalize, preprocess_file, preprocessing_for

PROGRAM = "python -m levit_benchmarks.trained_digits"
EXTRAS = {"sklearn": "bench", "timm": "bench", "torchvision": "bench"}
SIDE = 64
CLASSES = tuple(str(digit) for digit in range(10))
TRAIN, HELD_OUT = "train", "held-out"
HELD_OUT_EVERY = 3
BATCH, LEARNING_RATE, WEIGHT_DECAY, WARM_UP = 64, 1e-3, 0.025, 0.1
LARGEST_SHIFT = 6
"""Pixels by which images are moved while training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Digits:
    """Pixels (n, S, S, 3) and classes (n,) of one of the two sets."""

    pixels: NDArray[np.uint8]
    classes: NDArray[np.int64]


def write_digits(folder: Path) -> None:
    """Write both sets of images and the labels below `folder`."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    (folder / "labels.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
    for number, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        part = HELD_OUT if number % HELD_OUT_EVERY == 0 else TRAIN
        place = folder / part / CLASSES[label]
        place.mkdir(parents=True, exist_ok=True)
        grey = Image.fromarray(np.round(image * (255 / 16)).astype(np.uint8))
        # A rim, as the evaluation crops the centre.
        canvas = Image.new("L", (80, 80))
        canvas.paste(grey.resize((64, 64), Image.Resampling.BICUBIC), (8, 8))
        canvas.save(place / f"{number:04d}.png")


def read_digits(folder: Path) -> Digits:
    """The images of one set as the network sees them."""
    contract = preprocessing_for("timm", SIDE)
    files = sorted(folder.rglob("*.png"))
    return Digits(
        pixels=np.stack([preprocess_file(file, contract) for file in files]),
        classes=np.array([CLASSES.index(file.parent.name) for file in files]),
    )


def train(arch: str, digits: Digits, *, epochs: int, seed: int) -> dict[str, Tensor]:
    """Timm's state dict of a network that has seen `digits` for `epochs` epochs."""
    make_torchvision_importable()
    import timm

    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    network: nn.Module = timm.create_model(f"levit_{arch.lower()}", num_classes=len(CLASSES), img_size=SIDE)
    images = torch.from_numpy(normalize(digits.pixels, preprocessing_for("timm", SIDE)))
    classes = torch.from_numpy(digits.classes)
    steps = epochs * math.ceil(len(images) / BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=WARM_UP)
    network.train()
    with ProgressDisplay(epochs) as display:
        for _ in range(epochs):
            total = 0.0
            for rows in np.array_split(generator.permutation(len(images)), math.ceil(len(images) / BATCH)):
                shift = tuple(generator.integers(-LARGEST_SHIFT, LARGEST_SHIFT + 1, size=2).tolist())
                logits = network(torch.roll(images[rows], shift, dims=(2, 3)))
                loss = nn.functional.cross_entropy(logits, classes[rows], label_smoothing=0.1)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
                total += loss.item() * len(rows)
            display.advance(1, f"LeViT-{arch}: loss {total / len(images):.3f}")
    return {name: tensor.detach().contiguous() for name, tensor in network.state_dict().items()}


def _train(options: argparse.Namespace) -> int:
    require_packages(EXTRAS, purpose="training")
    from safetensors.torch import save_file

    folder: Path = options.output
    weights = folder / f"levit-{options.arch}.safetensors"
    if weights.exists():
        raise ConfigError(f"{weights} exists: choose another -o")
    if not (folder / TRAIN).exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_digits(folder)
    save_file(train(options.arch, read_digits(folder / TRAIN), epochs=options.epochs, seed=options.seed), weights)
    print_line(f"{weights}: now levit-export --checkpoint {weights} --labels {folder / 'labels.txt'}")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the module; returns its exit code."""
    parser = make_parser(PROGRAM, __doc__.splitlines()[0], f"{PROGRAM} --arch 128S -o digits")
    parser.add_argument("--arch", choices=VARIANTS, default="128S")
    parser.add_argument("--epochs", type=positive_int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    return run_command(PROGRAM, lambda: _train(parser.parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main())

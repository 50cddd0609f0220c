"""Every image of a data set through a bundle: decoded by several threads, in batches, resumed where it was stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from levit_deploy.bundle import Bundle
from levit_deploy.decoding import decode_image, printable
from levit_deploy.errors import ImageError, RunnerError
from levit_deploy.preprocessing import preprocess_file, resize_and_crop
from levit_deploy.runner import Runner
from levit_engines.batches import as_batch, group_size
from levit_engines.evaluation.outcome import Outcome
from levit_engines.evaluation.samples import Sample

# Decoded images that wait for the engine, in batches.
BATCHES_AHEAD = 4

Result = Outcome | str
"""What came of an image, or why it could not be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier:
    """A bundle on an engine."""

    bundle: Bundle
    runner: Runner

    def pixels(self, sample: Sample) -> NDArray[np.uint8]:
        """The (S, S, 3) RGB pixels that the network sees. Raises ImageError naming the image."""
        contract = self.bundle.manifest.preprocessing
        if isinstance(sample.source, Path):
            return preprocess_file(sample.source, contract)
        try:
            image = decode_image(sample.source.read(), apply_exif_orientation=contract.apply_exif_orientation)
            return resize_and_crop(image, contract)
        except ImageError as error:
            raise ImageError(f"{printable(sample.name)}: {error}") from error

    def outcomes(self, pixels: Sequence[NDArray[np.uint8]], labels: Sequence[int]) -> list[Outcome]:
        """What the network makes of images (n, S, S, 3). Raises RunnerError where logits are not finite."""
        images = as_batch(self.bundle, pixels, minimum=self.runner.batch_sizes.minimum)
        logits = self.runner.infer(images)[: len(pixels)]
        if not np.isfinite(logits).all():
            raise RunnerError(f"{self.bundle.path}: logits are not finite; export the bundle again")
        return [_outcome(row, label) for row, label in zip(logits, labels, strict=True)]


def evaluate(
    classifier: Classifier,
    samples: Sequence[Sample],
    *,
    workers: int,
    on_result: Callable[[Sample, Result], None] = lambda _, __: None,
) -> dict[str, Result]:
    """The outcome of every sample by its name, in their order; of one that cannot be read, why.

    `on_result` is told of each as soon as it is known. Raises RunnerError.
    """
    results: dict[str, Result] = {}
    size = group_size(classifier.runner.batch_sizes)
    with ThreadPoolExecutor(workers) as pool:
        for batch in _decoded(classifier, samples, pool, size):
            readable = [(sample, pixels) for sample, pixels in batch if not isinstance(pixels, str)]
            found: Mapping[str, Outcome] = {}
            if readable:
                outcomes = classifier.outcomes([pixels for _, pixels in readable], [one.label for one, _ in readable])
                found = {sample.name: outcome for (sample, _), outcome in zip(readable, outcomes, strict=True)}
            for sample, pixels in batch:
                results[sample.name] = pixels if isinstance(pixels, str) else found[sample.name]
                on_result(sample, results[sample.name])
    return results


def _decoded(
    classifier: Classifier, samples: Sequence[Sample], pool: ThreadPoolExecutor, size: int
) -> Iterator[list[tuple[Sample, NDArray[np.uint8] | str]]]:
    """Batches of pixels, or of why there are none; decoded ahead of the one that is asked for, but not without end."""

    def decode(sample: Sample) -> NDArray[np.uint8] | str:
        try:
            return classifier.pixels(sample)
        except ImageError as error:
            return str(error)

    remaining = iter(samples)
    waiting: list[tuple[Sample, Future[Any]]] = []

    def fill() -> None:
        more = islice(remaining, BATCHES_AHEAD * size - len(waiting))
        waiting.extend((sample, pool.submit(decode, sample)) for sample in more)

    fill()
    while waiting:
        batch, waiting[:] = waiting[:size], waiting[size:]
        fill()
        yield [(sample, future.result()) for sample, future in batch]


def _outcome(logits: NDArray[np.float32], label: int) -> Outcome:
    own = logits[label]
    # Equal logits stand in the order of their classes, as levit-classify shows them.
    rank = int((logits > own).sum() + (logits[:label] == own).sum())
    return Outcome(best=int(logits.argmax()), rank=rank)

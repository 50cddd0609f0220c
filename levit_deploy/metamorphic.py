"""Whether the batch around an image changes its logits: checks that need no reference and know no engine.

Letters: n images, B images of a batch, K classes. "First", "middle" and "last" are the positions 0, B // 2, B - 1.

An image's logits at the smallest batch size, where it is alone or beside zeros only, are its baseline. At every
batch size its logits must stay what the baseline says, whatever the batch around it is:

    repeated            a batch run again, after all others of its size, gives what it gave the first time
    permuted            images in turn, the same in reverse, and the next ones in a seeded random order
    duplicated          B copies of one image: all rows equal the baseline and each other
    alone               one image beside zeros only, at the first, middle and last position
    padded              1, B // 2 and B - 1 images, and zeros behind them
    extreme neighbours  images first, in the middle and last, beside extreme ones (see `extreme_images`)
    order               batch size 1: the image before (another one, an extreme one, zeros) changes nothing

A batch of one has no neighbours, so only "repeated" and "order" run there. The images are taken in turn from check to
check and from size to size. Calls of the engine, each with a whole batch, for n images:

    baseline     n, at the smallest batch size
    B = 1        6
    B = 2        9
    B = 3       12
    B = 4       13
    B >= 5      11

For eight images and the sizes 1 to 8 these are 92 calls with 406 images. What two honest roundings of one image may
differ by is twice its bound; that a batch of another size takes another kernel is allowed, but most engines' rows are
the same bit for bit, and it is reported how many are.

Every verdict is written as "must be <=", so that a NaN anywhere in a compared row fails it. The rows of zeros and of
extreme images may hold anything: they are not compared.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from levit_deploy.errors import ParityError
from levit_deploy.parity import finite_or_text

REPEATED = "repeated"
PERMUTED = "permuted"
DUPLICATED = "duplicated"
ALONE = "alone"
PADDED = "padded"
EXTREME_NEIGHBOURS = "extreme neighbours"
ORDER = "order"
CHECKS = (REPEATED, PERMUTED, DUPLICATED, ALONE, PADDED, EXTREME_NEIGHBOURS, ORDER)

FEWEST_IMAGES = 2
ROUNDINGS_COMPARED = 2
LOUDNESS = 100.0

# What a row of a batch holds: an image from 0 on, or one of these. Read from its end, the pool has them there.
_ZEROS = -1
_EXTREMES = (-2, -3, -4)

Infer = Callable[[NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCheck:
    """One check at one batch size, over `rows` compared rows; truthy when all of them are within their tolerance.

    `worst_image` and `worst_position` name the row closest to its tolerance or furthest beyond it, one with a NaN
    before all others; `worst_error` is its largest |difference| over the classes, and `worst_share` that error as a
    share of the tolerance, twice the bound of the image. `identical_rows` counts the rows that are equal to the last
    bit.
    """

    check: str
    batch_size: int
    rows: int
    worst_error: float
    worst_share: float
    worst_image: int
    worst_position: int
    identical_rows: int

    def __bool__(self) -> bool:
        return self.worst_share <= 1.0

    def to_json(self) -> dict[str, Any]:
        """The fields and the verdict as plain JSON values; numbers that are not finite become text."""
        return {
            "check": self.check,
            "batch_size": self.batch_size,
            "verdict": "pass" if self else "miss",
            "rows": self.rows,
            "identical_rows": self.identical_rows,
            "worst_error": finite_or_text(self.worst_error),
            "worst_share": finite_or_text(self.worst_share),
            "worst_image": self.worst_image,
            "worst_position": self.worst_position,
        }


def batch_suite(
    infer: Infer,
    inputs: NDArray[Any],
    bounds: NDArray[np.float64],
    batch_sizes: Sequence[int],
    *,
    seed: int = 0,
) -> tuple[BatchCheck, ...]:
    """Run every check at every one of `batch_sizes`; the results are in the order of the sizes and of `CHECKS`.

    `infer` takes a batch of images and returns their logits (B, K), in an array that it may reuse; what it raises is
    passed on. `inputs` (n, ...) are at least two images as `infer` takes them, which should differ: copies of one
    image would hide that rows were exchanged. `bounds` (n,) says how far rounding alone may move the logits of each
    image from the truth.

    Raises:
        ParityError: `infer` returned something other than one row of floating-point logits for each image.
        ValueError: too few images, images or bounds that are not finite, negative bounds, bounds that do not fit the
            images, no batch sizes, or one below 1.
    """
    sizes = _checked_sizes(batch_sizes)
    tolerances = _checked_tolerances(inputs, bounds)
    subject = _Subject(
        infer=infer,
        pool=np.concatenate([inputs, extreme_images(inputs, seed=seed)[::-1], np.zeros_like(inputs[:1])]),
    )
    baseline = _baseline(subject, len(inputs), sizes[0])
    results: list[BatchCheck] = []
    for plan in _plans(sizes, len(inputs), seed):
        runs = [(trial, subject.logits(trial.layout, baseline.shape[1])) for trial in plan]
        planned = {check for trial in plan for check in trial.checks}
        results += [_judge(check, runs, baseline, tolerances) for check in CHECKS if check in planned]
    return tuple(results)


def require_checks(checks: Sequence[BatchCheck]) -> None:
    """Raise ParityError, with the figures, for the first check that does not hold."""
    for check in checks:
        if not check:
            raise ParityError(
                f"the batch around an image changes its logits: check {check.check!r} at batch {check.batch_size}, "
                f"image {check.worst_image} at position {check.worst_position} is {check.worst_error:.3g} from what it "
                f"gives alone, {check.worst_share:.3g} times what rounding allows"
            )


def extreme_images(inputs: NDArray[Any], *, seed: int = 0) -> NDArray[Any]:
    """Three images (3, ...) of the type of `inputs` (n, ...), as loud as an engine must take them.

    Noise of the smallest and the largest value, all-largest ("white") and all-smallest ("black"). Integers have the
    range of their type: 0 to 255 for uint8 pixels. Floating-point images have LOUDNESS times the range of `inputs`,
    which no image reaches but any caller may send, and are finite: a faint coupling between rows shows beside them.

    Raises ValueError when `inputs` are empty or not finite.
    """
    if inputs.size == 0 or not np.isfinite(inputs).all():
        raise ValueError("expected finite images, at least one")
    coins = np.random.default_rng(seed).integers(0, 2, inputs.shape[1:])
    low, high = _loudest_values(inputs)
    return np.stack([np.where(coins, high, low), np.full_like(inputs[0], high), np.full_like(inputs[0], low)])


def _loudest_values(inputs: NDArray[Any]) -> NDArray[Any]:
    """The smallest and the largest value (2,) of extreme images."""
    if inputs.dtype.kind != "f":
        limits = np.iinfo(inputs.dtype)
        return np.array([limits.min, limits.max], dtype=inputs.dtype)
    largest = float(np.finfo(inputs.dtype).max)
    values = np.clip([LOUDNESS * float(inputs.min()), LOUDNESS * float(inputs.max())], -largest, largest)
    return values.astype(inputs.dtype)


@dataclass(frozen=True, slots=True)
class _Trial:
    """One batch to run: what each row holds, and the checks that its images are judged by."""

    layout: tuple[int, ...]
    checks: tuple[str, ...] = ()


def _plans(sizes: Sequence[int], images: int, seed: int) -> Iterator[tuple[_Trial, ...]]:
    """The trials of each batch size, of which the last one repeats the first."""
    turn, generator = itertools.cycle(range(images)), np.random.default_rng(seed)
    for size in sizes:
        yield _plan_of_many(size, turn, generator) if size > 1 else _plan_of_one(turn)


def _plan_of_one(turn: Iterator[int]) -> tuple[_Trial, ...]:
    # In the baseline, images came after images.
    first, second, third = _take(turn, 3)
    return (
        _Trial((first,), (ORDER,)),
        _Trial((_EXTREMES[0],)),
        _Trial((second,), (ORDER,)),
        _Trial((_ZEROS,)),
        _Trial((third,), (ORDER,)),
        _Trial((first,), (REPEATED,)),
    )


def _plan_of_many(size: int, turn: Iterator[int], generator: np.random.Generator) -> tuple[_Trial, ...]:
    in_turn = _take(turn, size)
    shuffled = tuple(generator.permutation(_take(turn, size)).tolist())
    places = sorted({0, size // 2, size - 1})
    return (
        _Trial(in_turn, (PERMUTED,)),
        _Trial(shuffled, (PERMUTED,)),
        _Trial(in_turn[::-1], (PERMUTED,)),
        _Trial((next(turn),) * size, (DUPLICATED,)),
        *_alone_trials(size, places, turn),
        *_padded_trials(size, turn),
        *_extreme_trials(size, places, turn),
        _Trial(in_turn, (REPEATED,)),
    )


def _alone_trials(size: int, places: Sequence[int], turn: Iterator[int]) -> Iterator[_Trial]:
    for place in places:
        layout = [_ZEROS] * size
        layout[place] = next(turn)
        # At the first position this is also the batch that is padded most.
        yield _Trial(tuple(layout), (ALONE,) if place else (ALONE, PADDED))


def _padded_trials(size: int, turn: Iterator[int]) -> Iterator[_Trial]:
    for fill in sorted({size // 2, size - 1} - {1}):
        yield _Trial((*_take(turn, fill), *[_ZEROS] * (size - fill)), (PADDED,))


def _extreme_trials(size: int, places: Sequence[int], turn: Iterator[int]) -> Iterator[_Trial]:
    # From five on, the places share a batch and still have nothing but extreme images beside them.
    for group in [places] if size >= 5 else [[place] for place in places]:
        neighbours = itertools.cycle(_EXTREMES)
        layout = (next(turn) if position in group else next(neighbours) for position in range(size))
        yield _Trial(tuple(layout), (EXTREME_NEIGHBOURS,))


def _take(turn: Iterator[int], count: int) -> tuple[int, ...]:
    return tuple(itertools.islice(turn, count))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """The engine under test, and everything that is put into a batch."""

    infer: Infer
    pool: NDArray[Any]

    def logits(self, layout: Sequence[int], classes: int | None) -> NDArray[np.float64]:
        """A copy (B, K) of the logits, because `infer` may reuse its array; K is `classes` where that is known."""
        return _checked_logits(self.infer(self.pool[list(layout)]), len(layout), classes).astype(np.float64)


def _checked_logits(returned: object, batch_size: int, classes: int | None) -> NDArray[Any]:
    wanted = f"wanted are floating-point ({batch_size}, {classes or 'classes'})"
    if not isinstance(returned, np.ndarray):
        raise ParityError(f"batch {batch_size}: logits are {type(returned).__name__}, {wanted}")
    fits = returned.ndim == 2 and len(returned) == batch_size and classes in (None, returned.shape[1])
    if not (fits and returned.size and returned.dtype.kind == "f"):
        raise ParityError(f"batch {batch_size}: logits are {returned.dtype} {returned.shape}, {wanted}")
    return returned


def _baseline(subject: _Subject, images: int, batch_size: int) -> NDArray[np.float64]:
    """Logits (n, K) of every image, first in a batch that holds zeros otherwise."""
    rows: list[NDArray[np.float64]] = []
    for image in range(images):
        layout = (image, *[_ZEROS] * (batch_size - 1))
        rows.append(subject.logits(layout, len(rows[0]) if rows else None)[0])
    return np.stack(rows)


def _judge(
    check: str,
    runs: Sequence[tuple[_Trial, NDArray[np.float64]]],
    baseline: NDArray[np.float64],
    tolerances: NDArray[np.float64],
) -> BatchCheck:
    """The result of `check` over those of the runs, trials and their logits (B, K), that serve it."""
    chosen = [(trial, logits) for trial, logits in runs if check in trial.checks]
    images = np.array([trial.layout for trial, _ in chosen])  # (runs, B)
    real = images >= 0
    positions, images = np.nonzero(real)[1], images[real]  # both (rows,)
    logits = np.stack([logits for _, logits in chosen])[real]  # (rows, K)
    expected = runs[0][1] if check == REPEATED else baseline[images]
    errors = _largest_differences(logits, expected)
    if check == DUPLICATED:
        # How far copies are apart is the fault of the one that left the baseline furthest.
        furthest = int(np.argmax(errors))
        spread = _largest_differences(logits.max(axis=0)[None], logits.min(axis=0))[0]
        errors[furthest] = np.maximum(errors[furthest], spread)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # A tolerance of zero allows no error at all.
        shares = np.where(errors == 0.0, 0.0, errors / tolerances[images])
    worst = int(np.argmax(shares))  # the first NaN, if there is one
    return BatchCheck(
        check=check,
        batch_size=len(runs[0][1]),
        rows=len(errors),
        worst_error=float(errors[worst]),
        worst_share=float(shares[worst]),
        worst_image=int(images[worst]),
        worst_position=int(positions[worst]),
        # As integers, to which 0.0 and -0.0 are not the same.
        identical_rows=int((logits.view(np.int64) == expected.view(np.int64)).all(axis=1).sum()),
    )


def _largest_differences(logits: NDArray[np.float64], expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """The largest |logit - expected| of every row, (rows,); NaN where one is, or where equal infinities meet."""
    with np.errstate(invalid="ignore", over="ignore"):
        largest: NDArray[np.float64] = np.abs(logits - expected).max(axis=1)
    return largest


def _checked_sizes(batch_sizes: Sequence[int]) -> tuple[int, ...]:
    sizes = tuple(sorted(set(batch_sizes)))
    if not sizes or sizes[0] < 1:
        raise ValueError(f"expected batch sizes of at least 1, got {list(batch_sizes)}")
    return sizes


def _checked_tolerances(inputs: NDArray[Any], bounds: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(inputs) < FEWEST_IMAGES or bounds.shape != inputs.shape[:1]:
        raise ValueError(
            f"expected {FEWEST_IMAGES} or more images and their bounds, got {inputs.shape}, {bounds.shape}"
        )
    tolerances: NDArray[np.float64] = ROUNDINGS_COMPARED * bounds.astype(np.float64)
    # An infinite or negative tolerance would let everything pass.
    if not (np.isfinite(tolerances).all() and (tolerances >= 0.0).all()):
        raise ValueError("expected bounds that are finite and not negative")
    return tolerances

"""The batch suite: honest engines pass, every planted defect is caught by the checks that can see it."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from levit_deploy.errors import ParityError
from levit_deploy.metamorphic import (
    ALONE,
    CHECKS,
    DUPLICATED,
    EXTREME_NEIGHBOURS,
    LOUDNESS,
    ORDER,
    PADDED,
    PERMUTED,
    REPEATED,
    BatchCheck,
    Infer,
    batch_suite,
    extreme_images,
)

NAN, INF = math.nan, math.inf
SHAPE, CLASSES, IMAGES = (3, 4, 4), 7, 8
WEIGHTS = np.random.default_rng(1).normal(size=(math.prod(SHAPE), CLASSES)) / math.sqrt(math.prod(SHAPE))
INPUTS = np.random.default_rng(2).normal(size=(IMAGES, *SHAPE)).astype(np.float32)
BOUNDS = np.full(IMAGES, 1e-4)
SIZES = (1, 2, 3, 4, 5, 8)
OF_NEIGHBOURS = {PERMUTED, ALONE, PADDED, EXTREME_NEIGHBOURS}

Defect = Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]


def honest(images: NDArray[Any]) -> NDArray[np.float32]:
    """Logits of a network that knows no batch: every row is computed by itself, so to the bit the same anywhere."""
    rows = [image.reshape(-1).astype(np.float64) @ WEIGHTS for image in images]
    return np.stack(rows).astype(np.float32)


def defective(defect: Defect, sizes: Sequence[int] = SIZES) -> Infer:
    """`honest`, whose logits go through `defect(logits, images)` at these batch sizes."""

    def infer(images: NDArray[Any]) -> NDArray[Any]:
        logits = honest(images)
        return defect(logits, images) if len(images) in sizes else logits

    return infer


def suite(infer: Infer, sizes: Sequence[int] = SIZES, **options: Any) -> tuple[BatchCheck, ...]:
    return batch_suite(infer, INPUTS, BOUNDS, sizes, **options)


def missed(results: Sequence[BatchCheck]) -> dict[int, set[str]]:
    """The checks that do not hold, by batch size; sizes where all hold are left out."""
    misses: dict[int, set[str]] = {}
    for result in results:
        if not result:
            misses.setdefault(result.batch_size, set()).add(result.check)
    return misses


def result_of(results: Sequence[BatchCheck], check: str, batch_size: int) -> BatchCheck:
    (result,) = [result for result in results if (result.check, result.batch_size) == (check, batch_size)]
    return result


def add_to_row(logits: NDArray[Any], row: int, amount: Any) -> NDArray[Any]:
    changed = logits.copy()
    changed[row] += amount
    return changed


# Honest engines


@pytest.mark.parametrize("sizes", [SIZES, (2, 3), (4,), (1,), (5, 1, 5)], ids=str)
@pytest.mark.filterwarnings("error")
def test_honest_engine_passes_bit_for_bit(sizes: Sequence[int]) -> None:
    results = suite(honest, sizes)
    assert all(results)
    assert all(result.identical_rows == result.rows and result.worst_error == 0.0 for result in results)
    by_size = {1: {REPEATED, ORDER}}
    for size in sizes:
        assert {r.check for r in results if r.batch_size == size} == by_size.get(size, set(CHECKS) - {ORDER})
    assert [r.batch_size for r in results] == sorted(r.batch_size for r in results)


def test_uint8_pixels_are_taken_as_they_are() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, 4, 4, 3), dtype=np.uint8)
    seen = set()

    def infer(images: NDArray[Any]) -> NDArray[np.float32]:
        seen.add((images.dtype, images.shape[1:], images.flags.c_contiguous))
        return honest(images)

    assert all(batch_suite(infer, pixels, np.zeros(IMAGES), SIZES))
    assert seen == {(np.dtype(np.uint8), (4, 4, 3), True)}


def test_rounding_of_another_kernel_is_allowed_and_reported() -> None:
    """A batch of three may take another kernel: rows move by what two honest roundings may differ, not more."""
    for share, holds in ((0.99, True), (1.01, False)):
        results = suite(defective(lambda logits, _, share=share: logits.astype(np.float64) + share * 2e-4, (3,)))
        result = result_of(results, PERMUTED, 3)
        assert bool(result) is holds
        assert result.worst_share == pytest.approx(share, rel=1e-3)
        assert (result.identical_rows, result.rows) == (0, 9)
        assert missed(results).keys() <= {3}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_engine_that_reuses_one_array_is_copied_in_time(dtype: type) -> None:
    buffers: dict[int, NDArray[Any]] = {}

    def reusing(images: NDArray[Any]) -> NDArray[Any]:
        buffer = buffers.setdefault(len(images), np.empty((len(images), CLASSES), dtype))
        buffer[...] = honest(images)
        return buffer

    results = suite(reusing)
    assert all(results)
    assert all(result.identical_rows == result.rows for result in results)
    calls = itertools.count()

    def reusing_and_drifting(images: NDArray[Any]) -> NDArray[Any]:
        buffer = reusing(images)
        buffer += 1e-3 * next(calls)
        return buffer

    # Kept by reference, both runs of a batch would be one array, and equal.
    misses = missed(suite(reusing_and_drifting))
    assert all(REPEATED in misses[size] for size in SIZES)


def test_engine_that_spoils_its_input_changes_nothing() -> None:
    def spoiling(images: NDArray[Any]) -> NDArray[np.float32]:
        logits = honest(images)
        images[...] = 7
        return logits

    before = INPUTS.copy()
    assert all(suite(spoiling))
    np.testing.assert_array_equal(INPUTS, before)


# Defects: which checks must miss, at the batch sizes where the defect is; all others must hold.

DEFECTS: dict[str, tuple[Defect, set[str]]] = {
    "rows mixed": (lambda logits, _: logits + 1e-3 * (logits.mean(axis=0) - logits), OF_NEIGHBOURS),
    "normalised over the batch": (
        lambda logits, _: (logits - logits.mean(axis=0)) / (logits.std(axis=0) + 1e-3),
        OF_NEIGHBOURS | {DUPLICATED},
    ),
    "rolled by one row": (lambda logits, _: np.roll(logits, 1, axis=0), OF_NEIGHBOURS),
    "reversed": (lambda logits, _: logits[::-1], OF_NEIGHBOURS),
    "last row for all": (lambda logits, _: np.repeat(logits[-1:], len(logits), axis=0), OF_NEIGHBOURS),
    "constant": (lambda logits, _: np.zeros_like(logits), OF_NEIGHBOURS | {DUPLICATED}),
    "sign": (lambda logits, _: -logits, OF_NEIGHBOURS | {DUPLICATED}),
    "classes exchanged": (lambda logits, _: logits[:, ::-1], OF_NEIGHBOURS | {DUPLICATED}),
    "last row wrong": (
        lambda logits, _: add_to_row(logits, -1, 1e-3),
        {PERMUTED, ALONE, EXTREME_NEIGHBOURS, DUPLICATED},
    ),
    "padding leaks": (
        lambda logits, images: logits + np.float32(1e-3) * np.sum(~images.any(axis=(1, 2, 3))),
        {ALONE, PADDED},
    ),
    "faint leak from the row before": (lambda logits, _: logits + 1e-5 * np.roll(logits, 1, 0), {EXTREME_NEIGHBOURS}),
    "faint leak from the row behind": (lambda logits, _: logits + 1e-5 * np.roll(logits, -1, 0), {EXTREME_NEIGHBOURS}),
    "faint leak from the whole batch": (lambda logits, _: logits + 1e-5 * logits.mean(0), {EXTREME_NEIGHBOURS}),
}


@pytest.mark.parametrize("wrong_sizes", [(2, 3, 4, 5, 8), (2,), (3,), (8,)], ids=str)
@pytest.mark.parametrize(("defect", "checks"), DEFECTS.values(), ids=DEFECTS.keys())
@pytest.mark.filterwarnings("error")
def test_defect_is_caught_where_it_is_and_nowhere_else(
    defect: Defect, checks: set[str], wrong_sizes: tuple[int, ...]
) -> None:
    results = suite(defective(defect, wrong_sizes))
    assert missed(results) == dict.fromkeys(wrong_sizes, checks)


@pytest.mark.parametrize("value", [NAN, INF, -INF], ids=str)
@pytest.mark.parametrize("row", [0, 2, -1])
@pytest.mark.filterwarnings("error")
def test_value_that_is_not_finite_fails_whatever_the_bounds(value: float, row: int) -> None:
    def spoil(logits: NDArray[Any], _: NDArray[Any]) -> NDArray[Any]:
        logits[row, 3] = value
        return logits

    results = batch_suite(defective(spoil, (5,)), INPUTS, np.full(IMAGES, 1e300), SIZES)
    everywhere = set(CHECKS) - {ORDER} - ({PADDED} if row == -1 else set())
    assert missed(results) == {5: everywhere}
    assert not any(math.isfinite(result.worst_error) for result in results if not result)
    assert all(result.worst_position == row % 5 for result in results if not result)
    for result in results:
        assert json.loads(json.dumps(result.to_json(), allow_nan=False))["verdict"] == ("pass" if result else "miss")


def test_baseline_that_is_not_finite_fails_everywhere() -> None:
    def infer(images: NDArray[Any]) -> NDArray[np.float32]:
        return np.full((len(images), CLASSES), INF, np.float32)  # the same everywhere, and yet no logits

    assert missed(suite(infer, (1, 2))) == {1: {REPEATED, ORDER}, 2: set(CHECKS) - {ORDER}}


def test_rows_of_extreme_images_may_overflow() -> None:
    def infer(images: NDArray[Any]) -> NDArray[np.float32]:
        logits = honest(images)
        logits[np.abs(images).max(axis=(1, 2, 3)) > 50] = NAN  # as float16 arithmetic may
        return logits

    assert all(suite(infer))


@pytest.mark.parametrize("position", ["first", "middle", "last"])
@pytest.mark.parametrize("size", [2, 3, 4, 5, 6, 7, 8, 17])
def test_every_check_looks_at_the_first_middle_and_last_position(size: int, position: str) -> None:
    row = {"first": 0, "middle": size // 2, "last": size - 1}[position]
    generator = np.random.default_rng(0)
    results = suite(defective(lambda logits, _: add_to_row(logits, row, generator.normal() + 9), (size,)), (1, size))
    padded = {PADDED} if row == size - 1 else set()  # where padding never leaves an image
    assert missed(results) == {size: set(CHECKS) - {ORDER} - padded}
    assert {result.worst_position for result in results if not result} == {row}


@pytest.mark.parametrize("step", [-1, 1], ids=["from before", "from behind"])
@pytest.mark.parametrize("position", ["first", "middle", "last"])
@pytest.mark.parametrize("size", [2, 3, 4, 5, 6, 7, 8, 17])
def test_faint_leak_into_one_position_shows_beside_extreme_images(size: int, position: str, step: int) -> None:
    row = {"first": 0, "middle": size // 2, "last": size - 1}[position]
    source = (row + step) % size

    def leak(logits: NDArray[Any], _: NDArray[Any]) -> NDArray[Any]:
        return add_to_row(logits, row, 1e-5 * logits[source])

    results = suite(defective(leak, (size,)), (1, size))
    wraps_to_image = size >= 5 and abs(row - source) > 1  # the first and the last image share a batch from five on
    assert missed(results) == ({} if wraps_to_image else {size: {EXTREME_NEIGHBOURS}})


def test_exchange_of_rows_that_hold_the_same_image_when_taken_in_turn_is_caught() -> None:
    """Images in turn come round again after n rows: only another order shows rows exchanged at that distance."""
    results = suite(defective(lambda logits, _: np.roll(logits, IMAGES, axis=0), (2 * IMAGES,)), (1, 2 * IMAGES))
    assert PERMUTED in missed(results)[2 * IMAGES]


def test_engine_that_is_not_deterministic_is_caught_at_every_size() -> None:
    generator = np.random.default_rng(0)
    misses = missed(suite(defective(lambda logits, _: logits + 1e-2 * generator.normal(size=logits.shape))))
    assert all(REPEATED in misses[size] for size in SIZES)


def test_stale_result_is_caught_at_every_size() -> None:
    """An engine that hands out what the call before computed."""
    kept: dict[int, NDArray[np.float32]] = {}

    def stale(images: NDArray[Any]) -> NDArray[np.float32]:
        logits = honest(images)
        previous = kept.get(len(images), logits)
        kept[len(images)] = logits
        return previous

    misses = missed(suite(stale))
    assert misses[1] == {REPEATED, ORDER}
    assert all({REPEATED, PERMUTED, DUPLICATED} <= misses[size] for size in SIZES[1:])


@pytest.mark.parametrize("amount", [1e-3, 1e-5], ids=["by any image", "by an extreme image"])
def test_trace_of_the_call_before_is_caught_at_batch_one(amount: float) -> None:
    memory = np.zeros(CLASSES)

    def infer(images: NDArray[Any]) -> NDArray[Any]:
        nonlocal memory
        logits = honest(images)
        result, memory = logits + amount * memory, logits.mean(axis=0)
        return result

    assert ORDER in missed(suite(infer, (1,)))[1]


# Outputs that are no logits

BROKEN: dict[str, Callable[[NDArray[Any]], Any]] = {
    "row missing": lambda logits: logits[:-1],
    "row too many": lambda logits: np.concatenate([logits, logits[:1]]),
    "first row only": lambda logits: logits[:1],
    "no rows": lambda logits: logits[:0],
    "no classes": lambda logits: logits[:, :0],
    "class missing": lambda logits: logits[:, 1:],
    "transposed": lambda logits: logits.T,
    "flat": lambda logits: logits.reshape(-1),
    "one axis more": lambda logits: logits[None],
    "scalar": lambda logits: np.float32(0),
    "list": lambda logits: logits.tolist(),
    "None": lambda logits: None,
    "integers": lambda logits: logits.astype(np.int32),
    "complex": lambda logits: logits.astype(np.complex64),
    "objects": lambda logits: logits.astype(object),
}


BEYOND_BATCH_ONE = {("first row only", 1), ("class missing", 1)}
# The baseline sets how many classes are expected, and the first row of a batch of one is all of it.
REFUSED = [(name, size) for name in BROKEN for size in (1, 3) if (name, size) not in BEYOND_BATCH_ONE]


@pytest.mark.parametrize(("name", "size"), REFUSED)
def test_result_that_is_no_logits_of_the_batch_is_refused(name: str, size: int) -> None:
    with pytest.raises(ParityError, match=rf"^batch {size}: logits are .*, wanted are floating-point \({size}, "):
        suite(defective(lambda logits, _: BROKEN[name](logits), (size,)))


def test_what_the_engine_raises_is_passed_on() -> None:
    def infer(images: NDArray[Any]) -> NDArray[Any]:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        suite(infer)


# Figures


def test_worst_row_is_the_one_furthest_beyond_its_own_tolerance() -> None:
    bounds = np.full(IMAGES, 1.0)
    bounds[3] = 1e-3
    strange = INPUTS[3]

    def disturb(logits: NDArray[Any], images: NDArray[Any]) -> NDArray[Any]:
        errors = [0.1 if np.array_equal(image, strange) else 0.5 for image in images]
        return logits.astype(np.float64) + np.array(errors)[:, None]

    result = result_of(batch_suite(defective(disturb, (8,)), INPUTS, bounds, (1, 8)), PERMUTED, 8)
    assert result.worst_image == 3
    assert result.worst_error == pytest.approx(0.1)
    assert result.worst_share == pytest.approx(0.1 / 2e-3)


def test_bound_of_zero_allows_equal_bits_only() -> None:
    zero = np.zeros(IMAGES)
    assert all(batch_suite(honest, INPUTS, zero, SIZES))
    results = batch_suite(defective(lambda logits, _: np.nextafter(logits, INF), (3,)), INPUTS, zero, SIZES)
    assert missed(results) == {3: set(CHECKS) - {ORDER, REPEATED}}
    assert result_of(results, ALONE, 3).worst_share == INF


def test_rows_that_differ_in_the_sign_of_zero_are_equal_but_not_identical() -> None:
    def zeros(logits: NDArray[Any], images: NDArray[Any]) -> NDArray[Any]:
        return np.full_like(logits, 0.0 if len(images) == 1 else -0.0)

    result = result_of(batch_suite(defective(zeros), INPUTS, np.zeros(IMAGES), (1, 2)), DUPLICATED, 2)
    assert result
    assert (result.rows, result.identical_rows) == (2, 0)


def test_copies_must_agree_with_each_other_too() -> None:
    """Rows of a tolerance above and below the baseline are both right alone, and twice too far apart."""
    error = 1.9e-4 * np.array([1, -1])[:, None]
    results = suite(defective(lambda logits, _: logits.astype(np.float64) + error, (2,)), (1, 2))
    assert missed(results) == {2: {DUPLICATED}}
    assert result_of(results, DUPLICATED, 2).worst_error == pytest.approx(3.8e-4, rel=1e-3)


def test_json_carries_the_figures() -> None:
    check = BatchCheck(
        check=ALONE,
        batch_size=4,
        rows=3,
        worst_error=2e-4,
        worst_share=2.0,
        worst_image=5,
        worst_position=3,
        identical_rows=1,
    )
    assert json.loads(json.dumps(check.to_json())) == {
        "check": "alone",
        "batch_size": 4,
        "verdict": "miss",
        "rows": 3,
        "identical_rows": 1,
        "worst_error": 2e-4,
        "worst_share": 2.0,
        "worst_image": 5,
        "worst_position": 3,
    }


@pytest.mark.parametrize(("share", "holds"), [(0.0, True), (1.0, True), (math.nextafter(1, 2), False), (NAN, False)])
def test_verdict_is_at_most_one(share: float, holds: bool) -> None:
    check = BatchCheck(
        check=ALONE,
        batch_size=1,
        rows=1,
        worst_error=0.0,
        worst_share=share,
        worst_image=0,
        worst_position=0,
        identical_rows=0,
    )
    assert bool(check) is holds


# Calls and order


def recorded(sizes: Sequence[int], *, images: int = IMAGES, **options: Any) -> list[NDArray[Any]]:
    """The batches that an engine is given."""
    batches: list[NDArray[Any]] = []

    def infer(batch: NDArray[Any]) -> NDArray[np.float32]:
        batches.append(batch.copy())
        return honest(batch)

    batch_suite(infer, INPUTS[:images], BOUNDS[:images], sizes, **options)
    return batches


@pytest.mark.parametrize("images", [2, 3, 8])
@pytest.mark.parametrize("sizes", [(1,), (2,), (1, 2, 3, 4, 5, 8), (33,)], ids=str)
def test_calls_are_those_of_the_docstring(images: int, sizes: Sequence[int]) -> None:
    table = {1: 6, 2: 9, 3: 12, 4: 13, 5: 11, 8: 11, 33: 11}
    assert len(recorded(sizes, images=images)) == images + sum(table[size] for size in sizes)


def test_cost_of_sizes_one_to_eight_is_that_of_the_docstring() -> None:
    batches = recorded(range(1, 9))
    assert (len(batches), sum(map(len, batches))) == (92, 406)


def test_first_batch_is_run_reversed_and_at_the_end_again() -> None:
    batches = recorded((4,))[IMAGES:]
    np.testing.assert_array_equal(batches[2], batches[0][::-1])
    np.testing.assert_array_equal(batches[-1], batches[0])


def test_batches_depend_on_the_seed_only() -> None:
    first, again, other = (recorded((1, 4, 5), seed=seed) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize(
    ("images", "bounds", "sizes"),
    [
        (1, np.zeros(1), (1,)),
        (0, np.zeros(0), (1,)),
        (3, np.zeros(2), (1,)),
        (3, np.zeros((3, 1)), (1,)),
        (3, np.array([1.0, NAN, 1.0]), (1,)),
        (3, np.array([1.0, INF, 1.0]), (1,)),
        (3, np.array([1.0, 1e308, 1.0]), (1,)),
        (3, np.array([1.0, -1e-9, 1.0]), (1,)),
        (3, np.zeros(3), ()),
        (3, np.zeros(3), (0, 1)),
        (3, np.zeros(3), (-1,)),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_arguments_that_would_prove_nothing_are_refused(
    images: int, bounds: NDArray[np.float64], sizes: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"^expected"):
        batch_suite(honest, INPUTS[:images], bounds, sizes)


# Extreme images


def test_extreme_pixels_are_noise_white_and_black() -> None:
    noise, white, black = extreme_images(np.full((1, 8, 8, 3), 9, np.uint8))
    assert noise.dtype == white.dtype == np.uint8
    assert set(np.unique(noise)) == {0, 255}
    assert 0.3 < noise.mean() / 255 < 0.7
    assert (white == 255).all()
    assert (black == 0).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_extreme_floats_are_finite_and_far_outside_the_range(dtype: type) -> None:
    inputs = INPUTS.astype(dtype)
    extremes = extreme_images(inputs)
    assert extremes.dtype == dtype
    assert extremes.shape == (3, *SHAPE)
    assert np.isfinite(extremes).all()
    low, high = (dtype(LOUDNESS * float(value)) for value in (inputs.min(), inputs.max()))
    noise, white, black = extremes
    assert set(np.unique(noise)) == {low, high}
    assert (white == high).all()
    assert (black == low).all()


def test_extreme_floats_of_huge_images_stay_finite() -> None:
    largest = float(np.finfo(np.float32).max)
    extremes = extreme_images(np.array([[largest], [-largest]], np.float32))
    assert (extremes.min(), extremes.max()) == (-largest, largest)


@pytest.mark.parametrize(
    "inputs", [INPUTS[:0], np.full((2, 3), NAN), np.full((2, 3), -INF)], ids=["none", "nan", "inf"]
)
def test_extremes_of_no_images_are_refused(inputs: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match=r"^expected finite images"):
        extreme_images(inputs)


# Properties

SEEDS = st.integers(0, 2**32 - 1)
MANY_SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=3)


@given(seed=SEEDS, images=st.integers(2, 9), sizes=MANY_SIZES, dtype=st.sampled_from(["uint8", "float16", "float32"]))
@settings(deadline=None)
def test_function_of_single_rows_has_no_error(seed: int, images: int, sizes: list[int], dtype: str) -> None:
    generator = np.random.default_rng(seed)
    inputs = (100 * generator.random(size=(images, *SHAPE))).astype(dtype)
    results = batch_suite(honest, inputs, np.zeros(images), sizes, seed=seed)
    assert all(results)
    assert all((result.worst_error, result.identical_rows) == (0.0, result.rows) for result in results)


@given(seed=SEEDS, sizes=MANY_SIZES, amount=st.floats(1e-6, 1.0), factor=st.floats(1.01, 100.0))
@settings(deadline=None, max_examples=50)
def test_more_coupling_never_looks_better(seed: int, sizes: list[int], amount: float, factor: float) -> None:
    bounds = np.full(IMAGES, np.random.default_rng(seed).uniform(1e-6, 1.0))

    def coupled(strength: float) -> tuple[BatchCheck, ...]:
        def infer(images: NDArray[Any]) -> NDArray[np.float64]:
            logits = honest(images).astype(np.float64)
            return logits + strength * (np.roll(logits, 1, axis=0) - logits)

        return batch_suite(infer, INPUTS, bounds, [1, *sizes], seed=seed)

    for less, more in zip(coupled(amount), coupled(factor * amount), strict=True):
        assert (less.check, less.batch_size) == (more.check, more.batch_size)
        blind = less.batch_size == 1 or less.check in (REPEATED, DUPLICATED)
        assert more.worst_error == less.worst_error == 0.0 if blind else more.worst_error > less.worst_error > 0.0
        assert more.worst_share >= less.worst_share
        assert not (more and not less)

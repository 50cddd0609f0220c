"""Comparison of logits and the verdict of a rung: hand-computed figures, and NaN or infinity never pass."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from levit_deploy.errors import ParityError
from levit_deploy.parity import Comparison, Rung, compare_logits, decisive_of

NAN, INF = math.nan, math.inf
REFERENCE = np.array([[1.0, 2.0, 4.0], [3.0, 0.0, -1.0]])


def rung(comparison: Comparison, *bounds: float, stage: str = "fused") -> Rung:
    return Rung(stage=stage, batch_size=2, images=tuple(range(len(bounds))), comparison=comparison, bounds=bounds)


def rung_of_errors(*errors: float, bounds: tuple[float, ...]) -> Rung:
    logits = np.zeros((len(errors), 2))
    logits[:, 0] = 1.0
    candidate = logits + np.array(errors)[:, None] * [1.0, 0.0]
    # Comparison takes any errors; these are given as they are, so that no subtraction rounds them.
    comparison = dataclasses.replace(compare_logits(logits, candidate), max_abs_errors=errors)
    return rung(comparison, *bounds)


def spoiled(value: float, position: tuple[int, int] = (1, 2)) -> NDArray[Any]:
    logits = REFERENCE.copy()
    logits[position] = value
    return logits


def test_comparison_equals_hand_computed_figures() -> None:
    candidate = np.array([[1.0, 5.0, 4.0], [3.0, 0.5, -1.0]])  # off by 3 and by 1/2; image 0 goes from class 2 to 1
    comparison = compare_logits(REFERENCE, candidate)
    assert comparison.max_abs_errors == (3.0, 0.5)
    assert comparison.max_abs_error == 3.0
    assert comparison.worst_row == 0
    ratio = math.sqrt(9.25 / 31)  # 1 + 4 + 16 + 9 + 0 + 1 = 31
    assert comparison.relative_l2 == pytest.approx(ratio, rel=1e-14)
    assert comparison.sqnr_db == pytest.approx(10 * math.log10(31 / 9.25), rel=1e-14)
    assert comparison.top1_agreement == 0.5
    assert comparison.top5_overlap == 1.0
    (flip,) = comparison.flips
    assert (flip.row, flip.reference_class, flip.candidate_class, flip.margin) == (0, 2, 1, 2.0)


def test_sign_is_not_lost() -> None:
    comparison = compare_logits(REFERENCE, -REFERENCE)
    assert comparison.max_abs_errors == (8.0, 6.0)
    assert comparison.relative_l2 == pytest.approx(2.0)
    assert comparison.sqnr_db == pytest.approx(-20 * math.log10(2))
    assert comparison.top1_agreement == 0.0
    assert [flip.margin for flip in comparison.flips] == [3.0, 4.0]


def test_top5_overlap_counts_shared_classes() -> None:
    reference = np.array([[7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]])
    candidate = np.array([[1.0, 6.0, 5.0, 4.0, 3.0, 7.0, 2.0]])  # the best five are {1, 2, 3, 4, 5} for {0, …, 4}
    assert compare_logits(reference, candidate).top5_overlap == pytest.approx(4 / 5)


@pytest.mark.parametrize("classes", [1, 2, 4, 5])
def test_top5_overlap_is_whole_with_up_to_five_classes(classes: int) -> None:
    logits = np.random.default_rng(0).normal(size=(3, classes))
    assert compare_logits(logits, -logits).top5_overlap == 1.0


def test_equal_logits_have_no_error() -> None:
    comparison = compare_logits(REFERENCE, REFERENCE.copy())
    assert comparison.max_abs_errors == (0.0, 0.0)
    assert comparison.relative_l2 == 0.0
    assert comparison.sqnr_db == INF
    assert (comparison.top1_agreement, comparison.top5_overlap, comparison.flips) == (1.0, 1.0, ())
    assert rung(comparison, 1e-300, 1e-300)


def test_errors_are_measured_in_float64() -> None:
    reference = REFERENCE + 2.0**-40
    assert compare_logits(reference, REFERENCE.astype(np.float32)).max_abs_error == 2.0**-40
    assert compare_logits(np.array([[6e4]]), np.array([[-6e4]], dtype=np.float16)).max_abs_error == 119_968 + 32


@pytest.mark.parametrize("shapes", [((2, 3), (3, 2)), ((2, 3), (2, 4)), ((2, 3), (1, 3)), ((3,), (3,))], ids=str)
def test_mismatched_shapes_are_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="expected two"):
        compare_logits(np.zeros(shapes[0]), np.zeros(shapes[1]))


@pytest.mark.parametrize("value", [NAN, INF, -INF], ids=str)
@pytest.mark.parametrize("side", ["candidate", "reference", "both"])
@pytest.mark.parametrize("bound", [1e-4, 1e300, NAN], ids=str)
@pytest.mark.filterwarnings("error")
def test_values_that_are_not_finite_fail_whatever_the_bound(value: float, side: str, bound: float) -> None:
    reference = REFERENCE if side == "candidate" else spoiled(value)
    candidate = REFERENCE if side == "reference" else spoiled(value)
    failing = rung(compare_logits(reference, candidate), bound, bound)
    assert not failing
    with pytest.raises(ParityError, match=r"'fused', batch 2: image 1 is (nan|inf)"):
        failing.require()
    document = json.loads(json.dumps(failing.to_json(), allow_nan=False))
    assert document["verdict"] == "miss"


def test_nan_bound_fails_on_finite_logits() -> None:
    failing = rung(compare_logits(REFERENCE, REFERENCE), NAN, 1.0)
    assert not failing
    with pytest.raises(ParityError):
        failing.require()


@pytest.mark.filterwarnings("error")
def test_equal_logits_hold_a_bound_of_zero() -> None:
    assert rung(compare_logits(REFERENCE, REFERENCE), 0.0, 0.0)
    assert not rung(compare_logits(REFERENCE, REFERENCE + 1e-9), 0.0, 0.0)


@pytest.mark.parametrize("bound", [1e-5, 0.1, 1.0, 3e7])
def test_error_at_the_bound_holds_and_just_above_does_not(bound: float) -> None:
    at, above = (rung_of_errors(0.0, error, bounds=(bound, bound)) for error in (bound, math.nextafter(bound, INF)))
    assert at.bound_share == 1.0
    at.require()
    assert above.bound_share > 1.0
    assert not above


def test_each_image_has_its_own_bound() -> None:
    assert rung_of_errors(0.5, 0.05, bounds=(1.0, 0.1))
    failing = rung_of_errors(0.5, 0.2, bounds=(1.0, 0.1))
    assert not failing
    assert failing.bound_share == pytest.approx(2.0)
    with pytest.raises(ParityError, match=r"image 1 is 0\.2 from float64, allowed is 0\.1"):
        failing.require()
    document = failing.to_json()
    assert document["bound_share"] == pytest.approx(2.0)
    assert document["bound"] == 0.1


def test_json_carries_the_figures() -> None:
    document = json.loads(json.dumps(rung(compare_logits(REFERENCE, -REFERENCE), 16.0, 16.0).to_json()))
    assert document["verdict"] == "pass"
    assert (document["stage"], document["batch_size"]) == ("fused", 2)
    assert (document["max_abs_error"], document["bound"], document["bound_share"]) == (8.0, 16.0, 0.5)
    assert [flip["image"] for flip in document["flips"]] == [0, 1]


def test_the_first_rung_that_does_not_hold_is_decisive_else_the_largest_share() -> None:
    low, high = rung_of_errors(0.9, bounds=(1.0,)), rung_of_errors(0.5, bounds=(0.1,))
    nan = rung(compare_logits(REFERENCE, spoiled(NAN)), 1.0, 1.0)
    infinite = rung(compare_logits(REFERENCE, spoiled(INF)), 1.0, 1.0)
    low_too = rung_of_errors(0.8, bounds=(1.0,))
    assert decisive_of([low_too, low]) is low
    assert decisive_of([low, low_too]) is low
    assert decisive_of([low, high, infinite]) is high
    assert decisive_of([low, nan, high]) is nan


SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.tuples(st.integers(1, 5), st.integers(1, 12))


@given(seed=SEEDS, size=SIZES, amount=st.floats(1e-6, 10.0), factor=st.floats(1.01, 100.0))
@settings(deadline=None)
def test_more_noise_never_looks_better(seed: int, size: tuple[int, int], amount: float, factor: float) -> None:
    generator = np.random.default_rng(seed)
    logits, noise = generator.normal(size=size), generator.normal(size=size)
    less, more = (compare_logits(logits, logits + scale * noise) for scale in (amount, factor * amount))
    assert less.max_abs_error < more.max_abs_error
    assert less.relative_l2 < more.relative_l2
    assert less.sqnr_db > more.sqnr_db


@given(seed=SEEDS, size=SIZES)
@settings(deadline=None)
def test_error_is_symmetric_and_ignores_the_order_of_images(seed: int, size: tuple[int, int]) -> None:
    generator = np.random.default_rng(seed)
    a, b = generator.normal(size=size), generator.normal(size=size)
    comparison, order = compare_logits(a, b), generator.permutation(size[0])
    assert comparison.max_abs_errors == compare_logits(b, a).max_abs_errors
    permuted = compare_logits(a[order], b[order])
    assert permuted.max_abs_errors == tuple(comparison.max_abs_errors[image] for image in order)
    assert permuted.relative_l2 == pytest.approx(comparison.relative_l2)
    assert permuted.top1_agreement == pytest.approx(comparison.top1_agreement)
    assert permuted.top5_overlap == pytest.approx(comparison.top5_overlap)
    by_image = {(int(order[flip.row]), flip.candidate_class, flip.margin) for flip in permuted.flips}
    assert by_image == {(flip.row, flip.candidate_class, flip.margin) for flip in comparison.flips}

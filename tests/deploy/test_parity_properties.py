"""The figures of a comparison against hand-computed tables and plain Python, and what holds for all logits."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from levit_deploy.errors import ParityError
from levit_deploy.parity import Comparison, Rung, compare_logits

NAN, INF = math.nan, math.inf
FLOATS = (np.float16, np.float32, np.float64)
SEEDS = st.integers(0, 2**32 - 1)
SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 12))

pytestmark = pytest.mark.filterwarnings("error")


def rung(comparison: Comparison, *bounds: float) -> Rung:
    images = tuple(range(len(bounds)))
    return Rung(stage="fused", batch_size=1, images=images, comparison=comparison, bounds=bounds)


def normal(seed: int, shape: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    generator = np.random.default_rng(seed)
    return generator.normal(size=shape), generator.normal(size=shape)


def logits_of_ranking(*best: int, classes: int = 12) -> list[float]:
    """Logits whose best classes are `best`, in this order, and the others after them from the last to the first."""
    order = [*best, *(k for k in reversed(range(classes)) if k not in best)]
    return [float(classes - order.index(k)) for k in range(classes)]


def strict_json(tested: Rung) -> dict[str, Any]:
    """The document of a rung through a reader that refuses the tokens NaN, Infinity and -Infinity."""

    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is not JSON")

    document: dict[str, Any] = json.loads(json.dumps(tested.to_json()), parse_constant=refuse)
    return document


@pytest.mark.parametrize(
    ("reference", "candidate", "max_abs_errors", "relative_l2", "sqnr_db"),
    [
        ([[3, 4]], [[3, 4.5]], (0.5,), 0.1, 20),  # 0.5 of 5
        ([[3, 4]], [[3, 3.5]], (0.5,), 0.1, 20),
        ([[1000, 0]], [[1000, 1]], (1,), 1e-3, 60),
        ([[3, -4]], [[0, 0]], (4,), 1, 0),  # all signal lost: as much noise as signal
        ([[3, -4]], [[-3, 4]], (8,), 2, -6.020599913279624),  # -20 log10 2
        ([[6, 0], [0, 8]], [[6, 1], [0, 8]], (1, 0), 0.1, 20),  # over all images at once: 1 of 10
        ([[2, 2], [2, 2]], [[3, 2], [2, 1]], (1, 1), 0.5 * math.sqrt(0.5), 9.030899869919436),  # -10 log10 1/8
        ([[0, 0]], [[0, -2]], (2,), INF, -INF),
        ([[0, 0]], [[0, 0]], (0,), 0, INF),
        ([[5]], [[5.5]], (0.5,), 0.1, 20),  # one class
    ],
)
def test_errors_equal_hand_computed_figures(
    reference: list[list[float]],
    candidate: list[list[float]],
    max_abs_errors: tuple[float, ...],
    relative_l2: float,
    sqnr_db: float,
) -> None:
    comparison = compare_logits(np.array(reference), np.array(candidate))
    assert comparison.max_abs_errors == max_abs_errors
    assert comparison.max_abs_error == max(max_abs_errors)
    assert comparison.relative_l2 == pytest.approx(relative_l2, rel=1e-14)
    assert comparison.sqnr_db == pytest.approx(sqnr_db, rel=1e-13, abs=1e-13)


@pytest.mark.parametrize(
    ("reference", "candidate", "overlap"),
    [
        ([[0, 1, 2, 3, 4]], [[4, 3, 2, 1, 0]], 1.0),  # the order among the five does not count
        ([[0, 1, 2, 3, 4]], [[0, 1, 2, 3, 5]], 0.8),
        ([[0, 1, 2, 3, 4]], [[5, 6, 0, 1, 7]], 0.4),
        ([[0, 1, 2, 3, 4]], [[5, 6, 7, 8, 9]], 0.0),
        ([[0, 1, 2, 3, 4], [0, 1, 2, 3, 4]], [[0, 1, 2, 3, 4], [4, 5, 6, 7, 8]], 0.6),  # the mean of 1 and 1/5
    ],
)
def test_top5_overlap_equals_hand_counted_classes(
    reference: list[list[int]], candidate: list[list[int]], overlap: float
) -> None:
    logits = (np.array([logits_of_ranking(*best) for best in rows]) for rows in (reference, candidate))
    assert compare_logits(*logits).top5_overlap == pytest.approx(overlap, rel=1e-15)


@pytest.mark.parametrize(
    ("classes", "overlap"), [(1, 1.0), (2, 1.0), (4, 1.0), (5, 1.0), (6, 0.8), (8, 0.4), (10, 0.0)]
)
def test_top5_overlap_of_reversed_classes(classes: int, overlap: float) -> None:
    logits = np.arange(classes, dtype=np.float64)[None]
    assert compare_logits(logits, -logits).top5_overlap == pytest.approx(overlap, rel=1e-15)


# (reference, candidate, (reference class, candidate class, margin) of the flip if there is one)
FLIPS = {
    "none": ([3, 1, 2], [3, 2, 1], None),
    "to the second": ([3, 1, 2], [2, 1, 3], (0, 2, 1.0)),
    "to the last": ([3, 1, 2], [3, 4, 2], (0, 1, 2.0)),
    "tie of the reference broken": ([2, 2, 1], [2, 2.5, 1], (0, 1, 0.0)),
    "tie of the reference kept": ([2, 2, 1], [2.5, 2, 1], None),
    "tie of the candidate, lower class was best": ([2, 1], [1.5, 1.5], None),
    "tie of the candidate, upper class was best": ([1, 2], [1.5, 1.5], (1, 0, 1.0)),
    "all tied": ([0, 0, 0], [7, 7, 7], None),
    "negative": ([-1, -8], [-9, -8], (0, 1, 7.0)),
}


@pytest.mark.parametrize("case", FLIPS)
def test_flips_have_the_margin_of_the_reference(case: str) -> None:
    reference, candidate, expected = FLIPS[case]
    comparison = compare_logits(np.array([reference], dtype=np.float64), np.array([candidate], dtype=np.float64))
    found = [(flip.reference_class, flip.candidate_class, flip.margin) for flip in comparison.flips]
    assert found == ([] if expected is None else [expected])
    assert comparison.top1_agreement == float(expected is None)


def best_classes(row: NDArray[Any]) -> list[int]:
    """The five best classes, the lower one first where they are equal, as argmax has it."""
    return sorted(range(len(row)), key=lambda k: (-float(row[k]), k))[:5]


@given(seed=SEEDS, shape=st.tuples(st.integers(1, 3), st.integers(6, 40)))
@settings(deadline=None)
def test_equal_logits_go_to_the_lower_class(seed: int, shape: tuple[int, int]) -> None:
    generator = np.random.default_rng(seed)
    a, b = (generator.integers(0, 3, size=shape).astype(np.float64) for _ in range(2))
    shared = [len(set(best_classes(x)) & set(best_classes(y))) / 5 for x, y in zip(a, b, strict=True)]
    assert compare_logits(a, b).top5_overlap == pytest.approx(sum(shared) / len(shared))


@given(seed=SEEDS, shape=SHAPES, dtypes=st.tuples(*[st.sampled_from(FLOATS)] * 2))
@settings(deadline=None)
def test_figures_equal_plain_python(seed: int, shape: tuple[int, int], dtypes: tuple[Any, Any]) -> None:
    a, b = (logits.astype(dtype) for logits, dtype in zip(normal(seed, shape), dtypes, strict=True))
    comparison = compare_logits(a, b)
    errors = [[float(y) - float(x) for x, y in zip(*rows, strict=True)] for rows in zip(a, b, strict=True)]
    assert comparison.max_abs_errors == tuple(max(map(abs, row)) for row in errors)
    noise = math.fsum(error**2 for row in errors for error in row)
    signal = math.fsum(float(x) ** 2 for x in a.flat)
    assert comparison.relative_l2 == pytest.approx(math.sqrt(noise / signal), rel=1e-12)
    assert comparison.sqnr_db == pytest.approx(10 * math.log10(signal / noise), rel=1e-12, abs=1e-12)
    agreeing = [best_classes(x)[0] == best_classes(y)[0] for x, y in zip(a, b, strict=True)]
    assert comparison.top1_agreement == pytest.approx(sum(agreeing) / len(agreeing))
    assert [flip.row for flip in comparison.flips] == [row for row, same in enumerate(agreeing) if not same]


@given(seed=SEEDS, shape=SHAPES, dtypes=st.tuples(*[st.sampled_from(FLOATS)] * 2))
@settings(deadline=None)
def test_narrow_floats_are_compared_in_float64(seed: int, shape: tuple[int, int], dtypes: tuple[Any, Any]) -> None:
    a, b = (logits.astype(dtype) for logits, dtype in zip(normal(seed, shape), dtypes, strict=True))
    kept = a.tobytes(), b.tobytes()
    assert compare_logits(a, b) == compare_logits(a.astype(np.float64), b.astype(np.float64))
    assert (a.tobytes(), b.tobytes()) == kept


@pytest.mark.parametrize(
    ("dtype", "largest"), [(np.float16, 65504.0), (np.float32, float(np.finfo(np.float32).max))], ids=str
)
def test_differences_beyond_a_narrow_float_stay_finite(dtype: Any, largest: float) -> None:
    logits = np.array([[largest, -largest]], dtype=dtype)
    comparison = compare_logits(logits, -logits)
    assert comparison.max_abs_error == 2 * largest
    assert comparison.relative_l2 == pytest.approx(2.0)
    assert [flip.margin for flip in comparison.flips] == [2 * largest]


def finite(dtype: Any) -> st.SearchStrategy[NDArray[Any]]:
    width = 8 * np.dtype(dtype).itemsize
    return arrays(dtype, SHAPES, elements=st.floats(allow_nan=False, allow_infinity=False, width=width))


@given(logits=st.sampled_from(FLOATS).flatmap(finite))
@settings(deadline=None)
def test_logits_have_no_distance_to_themselves(logits: NDArray[Any]) -> None:
    comparison = compare_logits(logits, logits.copy())
    assert comparison == Comparison(
        max_abs_errors=(0.0,) * len(logits),
        relative_l2=0.0,
        sqnr_db=INF,
        top1_agreement=1.0,
        top5_overlap=1.0,
        flips=(),
    )
    assert rung(comparison, *[0.0] * len(logits))


@given(seed=SEEDS, shape=SHAPES)
@settings(deadline=None)
def test_agreement_is_symmetric(seed: int, shape: tuple[int, int]) -> None:
    a, b = normal(seed, shape)
    there, back = compare_logits(a, b), compare_logits(b, a)
    assert there.max_abs_errors == back.max_abs_errors
    assert there.top1_agreement == back.top1_agreement
    assert there.top5_overlap == back.top5_overlap
    mirrored = [(flip.row, flip.candidate_class, flip.reference_class) for flip in back.flips]
    assert [(flip.row, flip.reference_class, flip.candidate_class) for flip in there.flips] == mirrored
    assert all(flip.margin > 0 for flip in there.flips + back.flips)


@given(seed=SEEDS, shape=SHAPES)
@settings(deadline=None)
def test_names_of_the_classes_do_not_matter(seed: int, shape: tuple[int, int]) -> None:
    a, b = normal(seed, shape)
    order = np.random.default_rng(seed).permutation(shape[1])
    plain, renamed = compare_logits(a, b), compare_logits(a[:, order], b[:, order])
    assert renamed.max_abs_errors == plain.max_abs_errors
    assert renamed.relative_l2 == pytest.approx(plain.relative_l2, rel=1e-12)
    assert (renamed.top1_agreement, renamed.top5_overlap) == (plain.top1_agreement, plain.top5_overlap)
    assert [flip.margin for flip in renamed.flips] == [flip.margin for flip in plain.flips]


@given(seed=SEEDS, shape=SHAPES, exponent=st.integers(-60, 60))
@settings(deadline=None)
def test_scale_of_both_changes_only_what_is_absolute(seed: int, shape: tuple[int, int], exponent: int) -> None:
    scale = 2.0**exponent
    a, b = normal(seed, shape)
    plain, scaled = compare_logits(a, b), compare_logits(scale * a, scale * b)
    assert scaled.max_abs_errors == tuple(scale * error for error in plain.max_abs_errors)
    assert [flip.margin for flip in scaled.flips] == [scale * flip.margin for flip in plain.flips]
    assert scaled.relative_l2 == pytest.approx(plain.relative_l2, rel=1e-12)
    assert (scaled.top1_agreement, scaled.top5_overlap) == (plain.top1_agreement, plain.top5_overlap)


MAGNITUDES = st.floats(0.0, allow_nan=False, allow_infinity=False)


@given(pairs=st.lists(st.tuples(MAGNITUDES, MAGNITUDES) | MAGNITUDES.map(lambda x: (x, x)), min_size=1, max_size=5))
@settings(deadline=None)
def test_rung_holds_exactly_when_no_error_exceeds_its_bound(pairs: list[tuple[float, float]]) -> None:
    errors, bounds = zip(*pairs, strict=True)
    # The errors are given as they are, so that no subtraction rounds them.
    comparison = dataclasses.replace(compare_logits(np.zeros((1, 1)), np.zeros((1, 1))), max_abs_errors=errors)
    assert bool(rung(comparison, *bounds)) == all(error <= bound for error, bound in pairs)


@given(
    data=st.data(),
    shape=SHAPES,
    seed=SEEDS,
    value=st.sampled_from((NAN, INF, -INF)),
    spoiled=st.sampled_from(("reference", "candidate", "both")),
    dtypes=st.tuples(*[st.sampled_from(FLOATS)] * 2),
    bound=MAGNITUDES | st.sampled_from((NAN, INF)),
)
@settings(deadline=None)
def test_one_value_that_is_not_finite_never_passes(
    data: st.DataObject,
    shape: tuple[int, int],
    seed: int,
    value: float,
    spoiled: str,
    dtypes: tuple[Any, Any],
    bound: float,
) -> None:
    reference, candidate = (x.astype(dtype) for x, dtype in zip(normal(seed, shape), dtypes, strict=True))
    position = data.draw(st.tuples(*(st.integers(0, size - 1) for size in shape)))
    for name, logits in (("reference", reference), ("candidate", candidate)):
        if spoiled in (name, "both"):
            logits[position] = value
    failing = rung(compare_logits(reference, candidate), *[bound] * shape[0])
    assert not failing
    assert failing.comparison.worst_row == position[0]
    with pytest.raises(ParityError):
        failing.require()
    assert strict_json(failing)["verdict"] == "miss"


def test_several_infinite_logits_fail_without_a_warning() -> None:
    failing = rung(compare_logits(np.array([[INF, INF, 0.0]]), np.array([[0.0, 1.0, 0.0]])), 1.0)
    assert not failing
    assert strict_json(failing)["flips"][0]["margin"] == "nan"


@pytest.mark.parametrize(
    ("reference", "candidate", "bound", "texts"),
    [
        ([[1, 2]], [[1, 2]], 1.0, {"sqnr_db": "inf"}),
        ([[0, 0]], [[0, 1]], 1.0, {"sqnr_db": "-inf", "relative_l2": "inf"}),
        ([[1, 2]], [[1, 3]], 0.0, {"bound_share": "inf"}),
        ([[1, 2]], [[1, 3]], INF, {"bound": "inf", "bound_share": "nan"}),
        ([[1, 2]], [[1, 3]], NAN, {"bound": "nan", "bound_share": "nan"}),
        (
            [[1, 2]],
            [[1, INF]],
            1.0,
            {"max_abs_error": "inf", "relative_l2": "inf", "sqnr_db": "-inf", "bound_share": "inf"},
        ),
        (
            [[1, 2]],
            [[1, NAN]],
            1.0,
            {"max_abs_error": "nan", "relative_l2": "nan", "sqnr_db": "nan", "bound_share": "nan"},
        ),
        (
            [[1, NAN]],
            [[1, 0]],
            1.0,
            {"max_abs_error": "nan", "relative_l2": "nan", "sqnr_db": "nan", "bound_share": "nan"},
        ),
    ],
)
def test_json_writes_as_text_what_is_no_number(
    reference: list[list[float]], candidate: list[list[float]], bound: float, texts: dict[str, str]
) -> None:
    document = strict_json(rung(compare_logits(np.array(reference, float), np.array(candidate, float)), bound))
    assert {name: value for name, value in document.items() if value in ("nan", "inf", "-inf")} == texts


@given(seed=SEEDS, shape=SHAPES, amount=st.floats(1e-9, 1e9))
@settings(deadline=None)
def test_verdict_is_that_of_the_document(seed: int, shape: tuple[int, int], amount: float) -> None:
    logits, noise = normal(seed, shape)
    tested = rung(compare_logits(logits, logits + amount * noise), *[1.0] * shape[0])
    document = strict_json(tested)
    assert (document["verdict"] == "pass") == bool(tested) == (document["bound_share"] <= 1.0)

"""Rungs as they are written down: nothing is lost on the way, and nothing else is taken for one."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from levit_deploy.errors import BundleError
from levit_deploy.parity import Hop, Rung, compare_logits
from levit_deploy.rung_record import RungRecord

NAN, INF = math.nan, math.inf
REFERENCE = np.array([[1.0, 2.0, 4.0], [3.0, 0.0, -1.0]])
VALUES = st.floats(-1e6, 1e6) | st.sampled_from([NAN, INF, -INF, 0.0, -0.0, 1e308, 5e-324])
LOGITS = npst.arrays(np.float64, (2, 3), elements=VALUES)


def rung(candidate: Any, previous: Any = None, bounds: tuple[float, float] = (8.0, 0.5)) -> Rung:
    hop = None
    if previous is not None:
        hop = Hop(previous="fused", comparison=compare_logits(previous, candidate), bounds=(16.0, 1.0))
    comparison = compare_logits(REFERENCE, candidate)
    return Rung(stage="traced", batch_size=2, images=(4, 7), comparison=comparison, bounds=bounds, hop=hop)


def through_a_file(document: Mapping[str, Any]) -> Any:
    """What a strict reader of JSON gets."""
    text = json.dumps(document, allow_nan=False)
    return json.loads(text, parse_constant=lambda token: pytest.fail(f"{token} is not JSON"))


@given(candidate=LOGITS, previous=st.none() | LOGITS, bounds=st.tuples(*[st.sampled_from([0.0, 1e-9, 8.0, 1e300])] * 2))
@settings(deadline=None)
def test_what_a_rung_writes_is_read_and_written_again_the_same(
    candidate: Any, previous: Any, bounds: tuple[float, float]
) -> None:
    measured = rung(candidate, previous, bounds)
    written = measured.to_json()
    record = RungRecord.from_json(through_a_file(written))
    assert record.to_json() == written
    assert bool(record) == bool(measured)
    assert through_a_file(record.to_json()) == written
    assert RungRecord.of(measured).to_json() == written


def test_the_fields_are_numbers_again() -> None:
    # Off by 8 in the first image, whose best class goes from 2 to 0, and not a number in the second.
    record = RungRecord.of(rung(np.array([[9.0, 2.0, 4.0], [3.0, NAN, -1.0]]), previous=REFERENCE))
    assert (record.stage, record.batch_size, record.verdict) == ("traced", 2, "miss")
    assert (record.decisive_image, record.worst_image, record.bound) == (7, 7, 0.5)
    assert math.isnan(record.bound_share)
    assert math.isnan(record.max_abs_error)
    first, second = record.flips
    assert (first.image, first.reference_class, first.candidate_class, first.margin) == (4, 2, 0, 3.0)
    assert (second.image, second.reference_class, second.candidate_class, second.margin) == (7, 0, 1, 3.0)
    assert record.hop is not None
    assert (record.hop.previous, record.hop.verdict, record.hop.flips) == ("fused", "miss", 2)
    assert math.isnan(record.hop.bound_share)


def test_the_first_stage_has_no_hop_and_equal_logits_an_infinite_ratio() -> None:
    record = RungRecord.of(rung(REFERENCE))
    assert record
    assert record.hop is None
    assert record.sqnr_db == INF
    assert record.flips == ()


def written(**changes: object) -> dict[str, Any]:
    """A rung with a flip and a hop, as parity.json holds it."""
    document = rung(np.array([[9.0, 2.0, 4.0], [3.0, 0.0, -1.0]]), previous=REFERENCE).to_json()
    return {**document, **changes}


def within(part: str, **changes: object) -> dict[str, Any]:
    """The same with something changed in its flip or its hop."""
    document = written()
    if part == "flips":
        return {**document, "flips": [{**document["flips"][0], **changes}]}
    return {**document, part: {**document[part], **changes}}


def without(name: str, part: str | None = None) -> dict[str, Any]:
    document = written()
    inner = document if part is None else document["flips"][0] if part == "flips" else document[part]
    del inner[name]
    return document


FLOATS = ("bound", "bound_share", "max_abs_error", "relative_l2", "sqnr_db", "top1_agreement", "top5_overlap")
WHOLE = ("batch_size", "decisive_image", "worst_image")


@pytest.mark.parametrize("name", list(written()))
def test_a_field_that_is_missing_is_named(name: str) -> None:
    with pytest.raises(BundleError, match=rf"lacks {name}"):
        RungRecord.from_json(without(name))


@pytest.mark.parametrize(("part", "name"), [("flips", "margin"), ("flips", "image"), ("hop", "previous")])
def test_a_field_that_is_missing_inside_is_named(part: str, name: str) -> None:
    with pytest.raises(BundleError, match=rf"lacks {name}"):
        RungRecord.from_json(without(name, part))


@pytest.mark.parametrize("value", [None, "much", "", [], {}, True, 10**400], ids=lambda value: repr(value)[:9])
@pytest.mark.parametrize("name", FLOATS)
def test_a_figure_that_is_no_number_is_named(name: str, value: object) -> None:
    with pytest.raises(BundleError, match=rf"'{name}'.*number"):
        RungRecord.from_json(written(**{name: value}))


@pytest.mark.parametrize("value", [None, "1", 1.0, True, []], ids=repr)
@pytest.mark.parametrize("name", WHOLE)
def test_a_count_that_is_no_whole_number_is_named(name: str, value: object) -> None:
    with pytest.raises(BundleError, match=rf"'{name}'.*int"):
        RungRecord.from_json(written(**{name: value}))


@pytest.mark.parametrize("value", [None, 1, ["traced"]], ids=repr)
@pytest.mark.parametrize("name", ["stage", "verdict"])
def test_a_text_that_is_none_is_named(name: str, value: object) -> None:
    with pytest.raises(BundleError, match=rf"'{name}'.*str"):
        RungRecord.from_json(written(**{name: value}))


INSIDE = {
    "flips, an object": (written(flips={}), "flips"),
    "flips, a text": (written(flips="none"), "flips"),
    "flip, a number": (written(flips=[1]), "object"),
    "flip of no class": (within("flips", candidate_class="cat"), "'candidate_class'"),
    "flip without figures": (within("flips", margin="wide"), "'margin'"),
    "hop, a text": (written(hop="fused"), "object"),
    "hop, a list": (written(hop=[]), "object"),
    "hop with a list of flips": (within("hop", flips=[]), "'flips'"),
    "hop from nowhere": (within("hop", previous=None), "'previous'"),
    "hop without figures": (within("hop", max_abs_error=None), "'max_abs_error'"),
}


@pytest.mark.parametrize(("document", "named"), INSIDE.values(), ids=INSIDE.keys())
def test_malformed_flips_and_hops_are_refused(document: object, named: str) -> None:
    with pytest.raises(BundleError, match=named):
        RungRecord.from_json(document)


@pytest.mark.parametrize(
    "document", [None, [], "rung", 1, [written()]], ids=["null", "list", "text", "number", "in a list"]
)
def test_what_is_no_object_is_no_rung(document: object) -> None:
    with pytest.raises(BundleError, match="object"):
        RungRecord.from_json(document)


def test_fields_of_later_releases_are_ignored() -> None:
    assert RungRecord.from_json(written(cosine=1.0)) == RungRecord.from_json(written())

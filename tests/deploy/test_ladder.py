"""The ladder over a network of three matrices: which batches are run, what is compared with what, who is blamed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from levit_deploy.bundle import Golden
from levit_deploy.errors import ParityError
from levit_deploy.ladder import Measured, Truth, blame, measure, probe_depth, require
from levit_deploy.module_truth import ModuleTruth, ProbeValues
from levit_deploy.parity import Rung
from levit_deploy.preprocessing import normalize, preprocessing_for
from levit_deploy.probes import Probe

SIDE, CLASSES, IMAGES, BOUND = 16, 6, 5, 1e-3
CONTRACT = preprocessing_for("untrained", SIDE)
PIXELS = np.random.default_rng(0).integers(0, 256, (IMAGES, SIDE, SIDE, 3)).astype(np.uint8)
LAYERS = (Probe("stem.conv1"), Probe("stages.0.blocks.0"), Probe("head"))
WIDTHS = (3 * SIDE * SIDE, 8, 7, CLASSES)
WEIGHTS = [np.random.default_rng(n).normal(size=WIDTHS[n : n + 2]) / WIDTHS[n] ** 0.5 for n in range(3)]

Defect = Callable[[str, NDArray[np.float64]], NDArray[np.float64]]


def inside(images: NDArray[Any], defect: Defect | None = None) -> dict[str, NDArray[np.float64]]:
    """The values of every layer, each of which goes through `defect(name, values)` before the next."""
    values, found = images.reshape(len(images), -1).astype(np.float64), {}
    for probe, weights in zip(LAYERS, WEIGHTS, strict=True):
        values = values @ weights
        values = values if defect is None else defect(probe.name, values)
        found[probe.name] = values
    return found


@dataclass
class Network:
    """A candidate that remembers what it was given."""

    stage: str = "traced"
    takes_pixels: bool = False
    defect: Defect | None = None
    probed: tuple[str, ...] = tuple(probe.name for probe in LAYERS)
    inferred: list[NDArray[Any]] = field(default_factory=list)
    probed_images: list[NDArray[Any]] = field(default_factory=list)

    def infer(self, images: NDArray[Any]) -> NDArray[np.float32]:
        self.inferred.append(images)
        return self._values(images)["head"].astype(np.float32)

    def probe(self, images: NDArray[Any]) -> ProbeValues:
        self.probed_images.append(images)
        return {name: values for name, values in self._values(images).items() if name in self.probed}

    def _values(self, images: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
        return inside(normalize(images, CONTRACT) if self.takes_pixels else images, self.defect)


@dataclass
class Modules:
    """The truth about the inside, which remembers the questions."""

    asked: list[tuple[int, ...]] = field(default_factory=list)

    def about(self, images: Sequence[int]) -> ModuleTruth:
        self.asked.append(tuple(images))
        values = inside(normalize(PIXELS[list(images)], CONTRACT))
        bounds = {name: np.full(len(images), BOUND) for name in values}
        return ModuleTruth(images=tuple(images), probes=LAYERS, values=values, bounds=bounds)


def truth(count: int = IMAGES, modules: Any = None, bounds: Sequence[float] | None = None) -> Truth:
    pixels = PIXELS[:count]
    logits = inside(normalize(pixels, CONTRACT))["head"]
    golden = Golden(names=tuple(f"image {index}" for index in range(count)), images=pixels, logits=logits)
    return Truth(
        golden=golden,
        bounds=np.full(count, BOUND) if bounds is None else np.array(bounds),
        contract=CONTRACT,
        modules=modules or Modules(),
    )


def off_by(amount: float, *, layer: str = "head", batch: int | None = None) -> Defect:
    """Everything at `layer` is off by `amount`, at one batch size or at all."""

    def defect(name: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values + amount if name == layer and batch in (None, len(values)) else values

    return defect


def shares(measured: Measured) -> list[float]:
    return [rung.bound_share for rung in measured.rungs]


@pytest.mark.parametrize("pixels", [False, True], ids=["normalised", "pixels"])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 12])
def test_every_image_is_seen_at_every_size_in_whole_batches(size: int, pixels: bool) -> None:
    network, known = Network(takes_pixels=pixels), truth()
    (rung,) = measure(network, known, [size]).rungs
    inputs = PIXELS if pixels else normalize(PIXELS, CONTRACT)
    assert {len(batch) for batch in network.inferred} == {size}
    given = np.concatenate(network.inferred)
    assert given.dtype == inputs.dtype
    np.testing.assert_array_equal(given, inputs[list(rung.images)])
    assert set(rung.images) == set(range(IMAGES))
    assert len(rung.images) - IMAGES < size
    assert rung.images[:IMAGES] == tuple(range(IMAGES))
    assert rung
    assert (rung.stage, rung.batch_size, rung.hop) == ("traced", size, None)


def test_each_row_is_held_to_the_bound_of_its_image() -> None:
    bounds = [1e-3, 2e-3, 4e-3, 8e-3, 16e-3]
    measured = measure(Network(defect=off_by(2e-3)), truth(bounds=bounds), [2])
    (rung,) = measured.rungs
    assert rung.images == (0, 1, 2, 3, 4, 0)
    assert rung.bounds == (*bounds, 1e-3)
    assert rung.bound_shares == pytest.approx([2.0, 1.0, 0.5, 0.25, 0.125, 2.0], rel=1e-3)
    assert rung.decisive_image == 0
    assert not measured


def test_hops_are_against_the_stage_before_with_both_bounds() -> None:
    known = truth()
    below = measure(Network("fused", defect=off_by(-0.9 * BOUND)), known, [1, 2])
    above = measure(Network("traced", defect=off_by(0.9 * BOUND)), known, [1, 2, 3], below)
    assert below
    assert above
    hops = {rung.batch_size: rung.hop for rung in above.rungs}
    assert hops[3] is None
    for size in (1, 2):
        hop = hops[size]
        assert hop is not None
        assert hop.previous == "fused"
        assert hop.comparison.max_abs_error == pytest.approx(1.8 * BOUND, rel=1e-2)
        assert hop.bound_share == pytest.approx(0.9, rel=1e-2)
        assert hop.bounds == (2 * BOUND,) * len(hop.bounds)
        assert hop


def test_a_hop_beyond_its_bound_is_told_but_the_truth_decides() -> None:
    known = truth()
    wrong = measure(Network("fused", defect=off_by(3 * BOUND)), known, [1])
    right = measure(Network("traced"), known, [1], wrong)
    assert not wrong
    assert right
    hop = right.rungs[0].hop
    assert hop is not None
    assert not hop


def at_sizes(**amounts: float) -> Defect:
    def defect(name: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values + (amounts.get(f"b{len(values)}", 0.0) if name == "head" else 0.0)

    return defect


DECISIVE = {
    "the closest where all hold": (at_sizes(b1=0.2e-3, b2=0.8e-3, b3=0.5e-3), 2),
    "the first miss, not the worst": (at_sizes(b1=0.9e-3, b2=1.5e-3, b3=9e-3), 2),
    "the only miss": (at_sizes(b1=0.9e-3, b3=1.1e-3), 3),
    "NaN": (at_sizes(b1=0.9e-3, b3=np.nan), 3),
    "infinity": (at_sizes(b2=np.inf), 2),
}


@pytest.mark.parametrize(("defect", "size"), DECISIVE.values(), ids=DECISIVE.keys())
def test_which_rung_speaks_for_a_stage(defect: Defect, size: int) -> None:
    measured = measure(Network(defect=defect), truth(), [1, 2, 3])
    assert measured.decisive.batch_size == size
    assert bool(measured) == bool(measured.decisive)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_logit_that_is_not_finite_is_a_miss_of_its_size_only(value: float) -> None:
    def defect(name: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
        if name == "head" and len(values) == 2:
            values[1, 3] = value
        return values

    measured = measure(Network(defect=defect), truth(), [1, 2, 3])
    assert [bool(rung) for rung in measured.rungs] == [True, False, True]
    assert measured.decisive.decisive_image == 1
    assert not measured


def test_require_lets_pass_what_holds_without_looking_inside() -> None:
    network = Network(defect=off_by(0.5 * BOUND))
    known = truth()
    require(network, known, measure(network, known, [1, 2]))
    assert network.probed_images == []


@pytest.mark.parametrize("layer", [probe.name for probe in LAYERS])
def test_require_names_stage_batch_image_and_first_wrong_module(layer: str) -> None:
    network, known = Network(defect=off_by(1.0, layer=layer, batch=3)), truth()
    measured = measure(network, known, [1, 2, 3])
    with pytest.raises(ParityError, match=rf"'traced', batch 3: image \d .*first wrong module: {layer} ") as caught:
        require(network, known, measured)
    assert "\n" not in str(caught.value)


def test_a_defect_of_one_batch_size_is_looked_for_at_that_size() -> None:
    network, known = Network(defect=off_by(1.0, layer="stages.0.blocks.0", batch=3)), truth()
    rung = measure(network, known, [1, 2, 3]).decisive
    found = blame(network, known, rung)
    assert (found.stage, found.batch_size, found.module) == ("traced", 3, "stages.0.blocks.0")
    assert found.before is not None
    assert found.before.probe == LAYERS[0]
    assert {len(batch) for batch in network.probed_images} == {3}


def test_a_candidate_that_shows_little_is_blamed_with_what_was_not_seen() -> None:
    network = Network(defect=off_by(1.0, layer="stem.conv1"), probed=("head",))
    known = truth()
    found = blame(network, known, measure(network, known, [1]).decisive)
    assert found.module == "head"
    assert found.unseen == LAYERS[:2]
    assert "not readable in between: stem.conv1, stages.0.blocks.0" in found.sentence()


def test_a_candidate_that_shows_nothing_is_still_a_miss() -> None:
    network, known = Network(defect=off_by(1.0), probed=()), truth()
    with pytest.raises(ParityError, match="no module can be named: no value inside"):
        require(network, known, measure(network, known, [1]))


def rung_about(image: int, size: int, known: Truth) -> Rung:
    def defect(name: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
        logits = known.golden.logits[image]
        wrong = name == "head" and np.isclose(values, logits).all(axis=1, keepdims=True)
        return values + np.where(wrong, 1.0, 0.0)

    rung = measure(Network(defect=defect), known, [size]).decisive
    assert rung.decisive_image == image
    return rung


@pytest.mark.parametrize(
    ("image", "size", "batch"), [(2, 1, (2,)), (2, 2, (2, 3)), (4, 3, (3, 4, 0)), (0, 3, (0, 1, 2))]
)
def test_the_inside_is_read_in_the_batch_that_missed(image: int, size: int, batch: tuple[int, ...]) -> None:
    modules, network = Modules(), Network()
    known = truth(modules=modules)
    about, depth = probe_depth(network, known, rung_about(image, size, known))
    assert modules.asked == [(image, *(other for other in batch if other != image))]
    assert about.images == batch
    (given,) = network.probed_images
    np.testing.assert_array_equal(given, normalize(PIXELS[list(batch)], CONTRACT))
    assert [found.probe for found in depth] == list(LAYERS)
    assert all(depth)


def test_an_image_that_fills_its_batch_alone_is_compared_in_every_row() -> None:
    known = truth(1)
    about, _ = probe_depth(Network(), known, rung_about(0, 3, known))
    assert about.images == (0, 0, 0)


def test_a_defect_of_the_last_row_is_found_and_named() -> None:
    def last_row(name: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
        if name == "stages.0.blocks.0" and len(values) == 4:
            values[3] += 1.0
        return values

    network, known = Network(defect=last_row), truth()
    rung = measure(network, known, [1, 4]).decisive
    assert rung.decisive_row % 4 == 3
    assert blame(network, known, rung).module == "stages.0.blocks.0"


def test_the_inside_of_what_holds_is_read_in_the_first_batch() -> None:
    modules, network = Modules(), Network()
    known = truth(modules=modules)
    probe_depth(network, known, measure(network, known, [2]).decisive)
    assert modules.asked == [(0, 1)]


def test_where_only_other_images_are_known_these_are_read_and_it_is_said() -> None:
    stored = Modules().about((1, 3))
    network, known = Network(), truth(modules=stored)
    rung = rung_about(2, 1, known)
    about, depth = probe_depth(network, known, rung)
    assert about.images == (1,)
    assert all(depth)
    assert "known of other images only" in blame(network, known, rung).sentence()


def test_of_a_batch_the_known_rows_are_compared() -> None:
    stored = Modules().about((1, 3))
    network = Network(defect=off_by(1.0, layer="stages.0.blocks.0"))
    known = truth(modules=stored)
    about, depth = probe_depth(network, known, measure(network, known, [2]).decisive)
    assert set(about.images) <= {1, 3}
    assert [bool(found) for found in depth] == [True, False, False]


def test_a_value_of_another_shape_is_infinitely_wrong() -> None:
    class Narrow(Network):
        def probe(self, images: NDArray[Any]) -> ProbeValues:
            return {name: values[:, :3] for name, values in super().probe(images).items()}

    network, known = Narrow(defect=off_by(1.0)), truth()
    found = blame(network, known, measure(network, known, [1]).decisive)
    assert found.module == "stem.conv1"
    assert found.after is not None
    assert found.after.error == np.inf

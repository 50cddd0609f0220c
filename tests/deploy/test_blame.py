"""Which module is named: on made-up values, and on what real networks and graphs let one see."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from functools import cache

import numpy as np
import onnx
import pytest
import torch
from rounding_helpers import random_images, random_model

from levit_deploy.architectures import VARIANTS
from levit_deploy.blame import Blame, error_by_depth, find_culprit
from levit_deploy.fusion import fuse
from levit_deploy.golden import golden_images
from levit_deploy.ladder import Truth
from levit_deploy.manifest import BatchSizes
from levit_deploy.model import offset_index
from levit_deploy.module_truth import ModuleTruth
from levit_deploy.preprocessing import preprocessing_for
from levit_deploy.probes import LEAST_SAMPLES, MATRICES, Probe, Role, probes_of, sample, sampled_places
from levit_deploy.recording import record
from levit_deploy.reference import EagerCandidate, truth_of
from levit_export.graph_candidate import GraphCandidate, values_of
from levit_export.pipeline import trace_network
from levit_export.request import ExportRequest, Target

SIDE, SAMPLES = 64, 4
PROBES = (Probe("first"), Probe("second", Role.SCORES), Probe("second", Role.BIASED_SCORES), Probe("third"))
NAMES = ("first", "second:scores", "second:biased scores", "third")
Values = dict[str, np.ndarray]


def made_up_truth(**bounds: float) -> ModuleTruth:
    """Two images, number 5 and number 2; every value is 10, every bound 1 or as given."""
    return ModuleTruth(
        images=(5, 2),
        probes=PROBES,
        values={name: np.full((2, SAMPLES), 10.0) for name in NAMES},
        bounds={name: np.full(2, bounds.get(name, 1.0)) for name in NAMES},
    )


def values_with(name: str, error: float, *, row: int = 1, others: float = 0.0) -> Values:
    """The true values, with one wrong sample of `name` and the same small error everywhere else."""
    values = {other: np.full((2, SAMPLES), 10.0 + others) for other in NAMES}
    values[name][row, SAMPLES - 1] = 10.0 + error
    return values


def found_in(values: Values, truth: ModuleTruth | None = None) -> Blame:
    truth = truth or made_up_truth()
    return find_culprit(truth, error_by_depth(truth, values), stage="traced", batch_size=3)


@pytest.mark.parametrize(
    ("name", "module", "before"),
    [
        ("first", "first", None),
        ("second:scores", "second", "first"),
        ("second:biased scores", "second.bias", "second:scores"),
        ("third", "third", "second:biased scores"),
    ],
)
@pytest.mark.parametrize("error", [1.001, -40.0, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("row", [0, 1])
def test_the_module_beyond_its_bound_is_named_with_the_errors_around_it(name, module, before, error, row):
    found = found_in(values_with(name, error, row=row, others=0.5))
    assert found.module == module
    assert found.after.probe.name == name
    assert found.after.image == (5, 2)[row]
    assert found.after.error == abs(error) or math.isnan(found.after.error) == math.isnan(error)
    assert found.after.bound == 1.0
    assert (found.before and found.before.probe.name) == before
    assert found.before is None or found.before.error == 0.5
    assert found.unseen == ()
    document = json.dumps(found.to_json(), allow_nan=False)
    assert json.loads(document)["module"] == module
    assert found.sentence() in json.loads(document)["sentence"]
    assert f"first wrong module: {module} (" in found.sentence()
    assert ("nothing was probed before it" in found.sentence()) == (before is None)


def test_the_first_wrong_module_is_named_and_not_the_worst():
    values = values_with("second:biased scores", 2.0)
    values["third"][:] = 1e6
    assert found_in(values).module == "second.bias"


def test_the_order_is_that_of_execution_whatever_that_of_the_values():
    values = values_with("second:scores", 2.0, others=2.0)
    shuffled = dict(reversed(values.items()))
    profile = error_by_depth(made_up_truth(), shuffled)
    assert tuple(error.probe.name for error in profile) == NAMES
    assert found_in(shuffled).module == "first"


def test_each_probe_speaks_for_the_image_closest_to_its_own_bound():
    truth = made_up_truth()
    truth.bounds["first"][:] = (4.0, 1.0)
    values = values_with("third", 0.0)
    values["first"][:] = ((12.0,), (10.9,))
    error = error_by_depth(truth, values)[0]
    assert (error.image, error.bound, error.magnitude) == (2, 1.0, 10.0)  # 0.9 of 1 is closer than 2 of 4
    assert error.error == pytest.approx(0.9)
    assert bool(error)


def test_nothing_is_named_where_every_value_is_within_its_bound():
    found = found_in(values_with("third", 1.0, others=-1.0))  # a bound is still allowed
    assert found.module is None
    assert found.after is None
    assert found.before.probe.name == "third"
    assert "all of them hold" in found.sentence()
    assert found.to_json()["after"] is None


def test_values_that_cannot_be_read_are_told():
    values = values_with("third", 7.0)
    for name in NAMES[1:3]:
        del values[name]
    found = found_in(values)
    assert (found.module, found.before.probe.name) == ("third", "first")
    assert tuple(probe.name for probe in found.unseen) == NAMES[1:3]
    assert all(name in found.sentence() for name in NAMES[1:3])


def test_nothing_is_named_where_nothing_can_be_read():
    found = found_in({})
    assert (found.module, found.before, found.after) == (None, None, None)
    json.dumps(found.to_json(), allow_nan=False)


@pytest.mark.parametrize("shape", [(2, SAMPLES + 1), (2, 1), (2, 0), (1, SAMPLES), (2, SAMPLES, 1)])
def test_a_value_of_another_shape_is_infinitely_wrong(shape):
    values = values_with("third", 0.0)
    values["second:scores"] = np.full(shape, 10.0)
    found = found_in(values)
    assert (found.module, found.after.error) == ("second", math.inf)
    assert found.to_json()["after"]["error"] == "inf"


def test_a_bound_of_zero_allows_no_error_at_all():
    truth = made_up_truth(**{"second:scores": 0.0})
    assert found_in(values_with("third", 0.0), truth).module is None
    found = found_in(values_with("second:scores", 1e-9), truth)
    assert (found.module, found.after.bound_share) == ("second", math.inf)
    assert found_in(values_with("second:scores", math.nan), truth).module == "second"


@pytest.mark.parametrize("channels", [1, 2, 3, 16, 49, 64, 128, 384, 768, 1000])
@pytest.mark.parametrize("positions", [1, 2, 4, 9, 16, 49, 64, 196, 16 * 16, 12 * 196, 112 * 112])
def test_samples_are_enough_differ_and_reach_every_channel(positions, channels):
    position, channel = sampled_places(positions, channels)
    places = set(zip(position.tolist(), channel.tolist(), strict=True))
    assert len(places) == len(position) == min(positions * channels, max(channels, LEAST_SAMPLES))
    assert set(channel.tolist()) == set(range(channels))
    assert (position >= 0).all()
    assert (position < positions).all()
    # Spread: no sixteenth of the positions is passed over.
    assert len(set((position * 16 // positions).tolist())) >= min(positions, 16, len(position))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 2), (3, 5), (14, 14)])
def test_a_grid_and_its_tokens_are_sampled_in_the_same_places(height, width):
    grid = np.arange(2 * 24 * height * width, dtype=np.float64).reshape(2, 24, height, width)
    tokens = grid.reshape(2, 24, -1).transpose(0, 2, 1)  # (B, C, H, W) -> (B, T, C)
    probe = Probe("stages.0.blocks.0")
    assert np.array_equal(sample(grid, probe), sample(tokens, probe))
    assert np.array_equal(sample(torch.from_numpy(grid), probe).numpy(), sample(grid, probe))
    assert len(np.unique(sample(grid, probe))) == sample(grid, probe).size


@pytest.mark.parametrize("role", sorted(MATRICES))
def test_attention_matrices_are_no_grids(role):
    matrices = np.arange(2 * 3 * 4 * 16, dtype=np.float64).reshape(2, 3, 4, 16)  # (B, N, Tq, T)
    expected = sample(matrices.reshape(2, 12, 16), Probe("attention"))
    sampled = sample(matrices, Probe("attention", role))
    assert np.array_equal(sampled[:, : expected.shape[1]], expected)
    # Of biased scores, all keys of the first query: every distance that has a bias is among them.
    corner = matrices[:, :, 0].reshape(2, -1) if role is Role.BIASED_SCORES else np.empty((2, 0))
    assert np.array_equal(sampled[:, expected.shape[1] :], corner)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("resolution", [1, 3, 4, 14])
def test_the_first_query_meets_every_bias(resolution, stride):
    offsets = offset_index(resolution, stride)  # (Tq, T)
    assert set(offsets[0].tolist()) == set(offsets.flatten().tolist()) == set(range(resolution**2))


@pytest.mark.parametrize("arch", VARIANTS)
def test_fused_and_unfused_values_are_the_same_but_for_rounding(arch):
    model = copy.deepcopy(random_model(arch, SIDE)).double()
    images = random_images(SIDE, 2)
    unfused, fused = record(model, images), record(fuse(model), images)
    assert list(unfused) == list(fused) == [probe.name for probe in probes_of(model.config)]
    for name, values in unfused.items():
        assert np.abs(fused[name] - values).max() <= 1e-12 * max(1.0, np.abs(values).max()), name


def test_recording_leaves_no_trace():
    model, images = random_model("128S", SIDE), random_images(SIDE, 2).float()
    with torch.no_grad():
        before = model(images)
        values = record(model, images)
        assert torch.equal(model(images), before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert np.array_equal(values["head"], sample(before, Probe("head")).double().numpy())


def truth_for(arch: str, seed: int) -> Truth:
    contract = preprocessing_for("untrained", SIDE)
    names, pixels = golden_images(contract)
    chosen = [names.index(name) for name in ("chelsea", "checkerboard", "saturated", "black")]
    return truth_of(random_model(arch, SIDE, seed=seed), [names[i] for i in chosen], pixels[chosen], contract)


def shares_of(candidate: EagerCandidate | GraphCandidate, truth: Truth) -> list[float]:
    known = truth.modules.about(range(4))
    inputs = truth.inputs(pixels=candidate.takes_pixels)
    batches = [candidate.probe(images) for images in np.split(inputs, 2)]
    values = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    return [error.bound_share for error in error_by_depth(known, values)]


@pytest.mark.parametrize(
    ("arch", "seed"), [("128S", 0), ("128S", 1), ("128S", 2), ("128", 3), ("192", 4), ("256", 5), ("384", 6)]
)
def test_honest_float32_is_within_the_bound_of_every_value_and_the_bounds_are_tight(arch, seed):
    truth, model = truth_for(arch, seed), random_model(arch, SIDE, seed=seed)
    for stage, network in (("eager", model), ("fused", fuse(model))):
        shares = shares_of(EagerCandidate(stage=stage, model=network), truth)
        assert len(shares) == len(probes_of(model.config))
        assert max(shares) <= 1.0
        assert max(shares) >= 0.01
        assert np.median(shares) >= 0.01


Graphs = Callable[[Target], onnx.ModelProto]


@pytest.fixture(scope="module")
def graphs() -> Graphs:
    """The smallest network for batches of 1 to 3, in the form for a target; made once."""

    def graph_for(target: Target) -> onnx.ModelProto:
        request = ExportRequest(arch="128S", image_size=SIDE, target=target, batch=(1, 3))
        sizes = BatchSizes(minimum=1, maximum=3, verified=(1, 3))
        return trace_network(fuse(random_model("128S", SIDE)), request, preprocessing_for("untrained", SIDE), sizes)

    return cache(graph_for)


def candidate_for(graph: onnx.ModelProto, *, optimized: bool = False) -> GraphCandidate:
    return GraphCandidate("traced", graph, probes_of(random_model("128S", SIDE).config), optimized=optimized)


@pytest.mark.parametrize("target", Target)
def test_every_value_is_found_in_the_graph(target, graphs):
    probes = probes_of(random_model("128S", SIDE).config)
    found = candidate_for(graphs(target)).probe(random_images(SIDE, 3).float().numpy())
    missing = [probe for probe in probes if probe.name not in found]
    # Of convolutions the query layer itself picks the tokens, with its stride.
    picked = [probe for probe in probes if probe.role is Role.PICKED_TOKENS]
    assert missing == (picked if target is Target.CPU else [])
    read = values_of(graphs(target).graph, probes).values()
    matrices = [probe for probe in probes if probe.role is not Role.TOKENS]
    assert len(set(read)) >= len(matrices) - len(missing)  # no two of them are one value, but for the tokens


@pytest.mark.parametrize("target", Target)
def test_reading_values_changes_neither_the_graph_nor_its_logits(target, graphs):
    graph, images = graphs(target), random_images(SIDE, 3).float().numpy()
    before = graph.SerializeToString(deterministic=True)
    candidate = candidate_for(graph)
    logits = candidate.infer(images)
    values = candidate.probe(images)
    assert np.array_equal(candidate.infer(images), logits)
    assert np.array_equal(values["head"], sample(logits, Probe("head")).astype(np.float64))
    assert graph.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("optimized", [False, True], ids=["as written", "optimized"])
@pytest.mark.parametrize("target", Target)
def test_an_honest_graph_is_within_the_bound_of_every_value(target, optimized, graphs):
    shares = shares_of(candidate_for(graphs(target), optimized=optimized), truth_for("128S", 0))
    assert max(shares) <= 1.0
    assert max(shares) >= 0.01
    assert np.median(shares) >= 0.01


def test_a_value_without_rows_is_wrong_and_no_crash(graphs):
    """A graph whose logits have their shape, though on the way there the batch was lost."""
    graph = copy.deepcopy(graphs(Target.GPU))
    mean = next(node for node in graph.graph.node if node.op_type == "ReduceMean")
    head = next(node for node in graph.graph.node if node.name.startswith("head/"))
    one = onnx.helper.make_tensor("one", onnx.TensorProto.INT64, [1], [1])
    whole = onnx.helper.make_tensor("whole", onnx.TensorProto.INT64, [2], [1, -1])
    zero = onnx.helper.make_tensor("zero", onnx.TensorProto.INT64, [1], [0])
    graph.graph.initializer.extend([one, whole, zero])
    flat = onnx.helper.make_node("ReduceMax", [mean.output[0], "zero"], ["flat"], name="levit/ReduceMax", keepdims=0)
    again = onnx.helper.make_node("Reshape", ["flat", "whole"], ["again"], name="head/Reshape")
    head.input[0] = "again"
    for node in (flat, again):
        graph.graph.node.insert(list(graph.graph.node).index(head), node)
    truth = truth_for("128S", 0)
    values = candidate_for(graph).probe(truth.inputs(pixels=False)[:1])
    known = truth.modules.about((0,))
    found = find_culprit(known, error_by_depth(known, values), stage="traced", batch_size=1)
    assert (found.module, found.after.error) == ("levit", math.inf)

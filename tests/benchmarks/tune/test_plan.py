"""How the time is spent: what is measured again, and how often."""

import pytest

from levit_benchmarks.bench.statistics import fewest_samples
from levit_benchmarks.tune.goal import Goal
from levit_benchmarks.tune.plan import FEWEST_ROUNDS, MOST_FINALISTS, MOST_ROUNDS, finalists, plan_rounds

GOAL = Goal(max_latency_ms=20.0)


def test_what_is_far_too_slow_is_dropped_and_the_most_accurate_comes_first(finding):
    found = [finding("128S", 6.0), finding("192", 12.0), finding("256", 22.0), finding("384", 41.0)]
    assert [one.option.network for one in finalists(found, GOAL)] == ["LeViT-256", "LeViT-192", "LeViT-128S"]


def test_the_second_best_option_of_a_network_is_kept_where_it_is_close(finding):
    found = [
        finding("192", 10.0),
        finding("192", 11.0, engine="openvino"),
        finding("192", 11.2, engine="tensorrt"),
        finding("128", 8.0),
        finding("128", 10.5, engine="openvino"),
    ]
    chosen = [(one.option.network, one.option.engine) for one in finalists(found, GOAL)]
    assert chosen == [("LeViT-192", "onnxruntime"), ("LeViT-128", "onnxruntime"), ("LeViT-192", "openvino")]


def test_where_nothing_may_meet_the_goal_the_nearest_is_measured_all_the_same(finding):
    (one,) = finalists([finding("192", 90.0), finding("256", 80.0)], GOAL)
    assert one.option.network == "LeViT-256"


def test_without_a_limit_on_the_speed_the_fastest_comes_first(finding):
    found = [finding("384", 41.0), finding("192", 12.0), finding("256", 22.0)]
    chosen = finalists(found, Goal(min_top1=80.0))
    assert [one.option.network for one in chosen] == ["LeViT-192", "LeViT-256", "LeViT-384"]


def test_finalists_are_few(finding):
    archs = ("128S", "128", "192", "256", "384")
    found = [finding(arch, 10.0, engine=engine) for arch in archs for engine in ("onnxruntime", "openvino", "tensorrt")]
    assert len(finalists(found, GOAL)) == MOST_FINALISTS


@pytest.mark.parametrize("percentile", [50.0, 90.0, 99.0])
def test_the_calls_of_all_rounds_carry_the_percentile(finding, percentile):
    goal = Goal(max_latency_ms=20.0, percentile=percentile)
    plan = plan_rounds([finding("192", 12.0)], goal, seconds=600)
    assert plan.rounds == MOST_ROUNDS
    assert plan.rounds * plan.burst.count >= fewest_samples(percentile)


def test_with_less_time_there_are_fewer_rounds_then_fewer_finalists_and_never_none(finding):
    found = [finding("256", 18.0), finding("192", 12.0), finding("128", 8.0)]
    plans = [plan_rounds(found, GOAL, seconds=seconds) for seconds in (600, 30, 12, -1)]
    assert [len(plan.finalists) for plan in plans] == [3, 3, 2, 1]
    assert plans[1].rounds < MOST_ROUNDS
    assert plans[3].rounds == FEWEST_ROUNDS
    assert all(plan.seconds <= seconds for plan, seconds in zip(plans, (600, 30, 12), strict=False))
    assert plans[3].finalists == (found[0],)

"""The frontier, the answer and the nearest miss, of findings that nobody measured."""

from levit_benchmarks.tune.finding import best_known, choose, frontier, nearest_miss
from levit_benchmarks.tune.goal import CANNOT_TELL, MEETS, MISSES, Goal

LATENCY = Goal(max_latency_ms=20.0)
TOP1 = Goal(min_top1=78.0)
RATE = Goal(min_images_per_s=50.0)


def names(found):
    return [(one.option.network, one.option.engine) for one in found]


def test_on_the_frontier_nothing_is_both_more_accurate_and_faster(finding):
    found = [
        finding("384", 41.0),
        finding("192", 12.0),
        finding("256", 20.0, engine="openvino"),
        finding("256", 21.0),
        finding("128", 12.5),
        finding("128S", 6.0),
    ]
    assert [one.option.network for one in frontier(found, LATENCY)] == [
        "LeViT-128S",
        "LeViT-192",
        "LeViT-256",
        "LeViT-384",
    ]
    assert frontier(found, LATENCY)[2].option.engine == "openvino"


def test_of_equally_fast_ones_the_more_accurate_is_on_the_frontier(finding):
    assert names(frontier([finding("128S", 5.0), finding("192", 5.0)], TOP1)) == [("LeViT-192", "onnxruntime")]


def test_a_network_of_unknown_accuracy_is_not_on_the_frontier(finding):
    assert frontier([finding("128S", 5.0, top1=None)], TOP1) == ()


def test_offline_the_frontier_is_one_of_images_not_of_calls(finding):
    batched = finding("192", 40.0, batch=8)  # 5 ms an image
    assert frontier([finding("192", 12.0), batched], RATE) == (batched,)


def test_with_a_limit_the_most_accurate_that_meets_it_is_chosen_and_of_that_the_fastest(finding):
    found = [
        finding("128S", 6.0, outcome=MEETS),
        finding("256", 18.0, outcome=MEETS),
        finding("256", 17.0, engine="openvino", outcome=MEETS),
        finding("384", 41.0, outcome=MISSES),
    ]
    assert names([choose(found, LATENCY)]) == [("LeViT-256", "openvino")]


def test_without_a_limit_on_the_speed_the_fastest_is_chosen(finding):
    found = [finding("256", 18.0, outcome=MEETS), finding("192", 12.0, outcome=MEETS)]
    assert choose(found, TOP1).option.network == "LeViT-192"


def test_what_cannot_be_told_is_not_chosen_but_is_the_nearest_miss(finding):
    found = [
        finding("256", 19.9, p90_ms=20.4, outcome=CANNOT_TELL),
        finding("192", 19.5, p90_ms=20.2, outcome=MISSES),
    ]
    assert choose(found, LATENCY) is None
    assert nearest_miss(found, LATENCY).option.network == "LeViT-256"


def test_a_screening_decides_nothing_and_gives_way_to_what_was_confirmed(finding):
    screened = [finding("192", 12.0), finding("256", 30.0)]
    confirmed = [finding("192", 13.0, outcome=MEETS)]
    known = best_known(screened, confirmed)
    assert [(one.option.network, one.median_ms) for one in known] == [("LeViT-192", 13.0), ("LeViT-256", 30.0)]
    assert choose(screened, LATENCY) is None

"""The search on bundles that take microseconds: what it tries, what it leaves out, and what it keeps of it."""

import fixtures_bundle
import pytest
from proven_bundles import proven

from levit_benchmarks.bench.document import from_json
from levit_benchmarks.bench.document import to_json as record_json
from levit_benchmarks.tune.document import run_record, to_json
from levit_benchmarks.tune.goal import MEETS, Goal
from levit_benchmarks.tune.option import Source, options_of, thread_counts
from levit_benchmarks.tune.search import search
from levit_deploy.errors import ParityError

GOAL = Goal(max_latency_ms=1000.0)


class Silent:
    def advance(self, work, description):
        assert work >= 1


class Clock:
    """Seconds that pass only when they are asked for."""

    def __init__(self, step_s):
        self.now_s, self.step_s = 0.0, step_s

    def __call__(self):
        self.now_s += self.step_s
        return self.now_s


@pytest.fixture
def sources(make_bundle, monkeypatch):
    """Two variants at 224 pixels and 1000 classes, so that what was published is of them."""
    monkeypatch.setattr(fixtures_bundle, "SIDE", 224)

    def make(**errors):
        bundles = {
            arch: proven(make_bundle, f"levit-{arch}", arch=arch, classes=1000, error=errors.get(f"error_{arch}", 0.0))
            for arch in ("128S", "192")
        }
        return tuple(Source(name=f"levit-{arch}", bundle=bundle) for arch, bundle in bundles.items())

    return make


def options(sources, goal=GOAL, **changes):
    return options_of(sources, goal, **{"engines": ("onnxruntime",), "batches": (1,), "threads": (1,)} | changes)


def test_the_answer_follows_from_samples_that_can_be_read_again(sources):
    wanted, left_out = options(sources())
    found = search(wanted, GOAL, seconds=1.0, observer=Silent(), now=Clock(0.001))
    assert left_out == ()
    assert len(found.screened) == 2
    assert all(one.outcome is None for one in found.screened)
    record = run_record(found, GOAL, {"budget_minutes": 1.0})
    document = to_json(found, GOAL, record)
    assert from_json(document["run"], "here").groups == from_json(record_json(record), "there").groups
    assert document["answer"]["outcome"] == MEETS
    assert document["answer"]["calls"] >= 64
    assert document["nearest_miss"] is None
    assert document["answer"]["commands"][-1].startswith("levit-bench ")
    assert set(record.groups[-1].sessions) == {option.name for option in wanted}


def test_with_no_time_one_is_screened_and_the_rest_said_to_be_left_out(sources):
    wanted, _ = options(sources())
    found = search(wanted, GOAL, seconds=1e-6, observer=Silent(), now=Clock(1.0))
    assert [one.option for one in found.screened] == [wanted[0]]
    assert [(one.name, one.reason) for one in found.left_out] == [(wanted[1].name, "the time was up before its turn")]
    assert len(found.confirming.rounds) == 6


def test_an_option_with_wrong_logits_is_left_out_with_the_reason(sources):
    wanted, _ = options(sources(error_192=1.0))
    found = search(wanted, GOAL, seconds=1.0, observer=Silent(), now=Clock(0.001))
    (left_out,) = found.left_out
    assert left_out.name == wanted[1].name
    assert left_out.reason.startswith("parity lost")
    assert [one.option.network for one in found.confirmed] == ["LeViT-128S"]


def test_where_nothing_can_be_opened_the_first_error_is_raised(sources):
    wanted, _ = options(sources(error_192=1.0, error_128S=1.0))
    with pytest.raises(ParityError):
        search(wanted, GOAL, seconds=1.0, observer=Silent(), now=Clock(0.001))


def test_variants_below_the_published_top1_are_left_out(sources):
    wanted, left_out = options(sources(), Goal(min_top1=80.0))
    assert [option.network for option in wanted] == ["LeViT-192"]
    assert [(one.name, one.reason) for one in left_out] == [("levit-128S", "published top-1 is 76.6 %")]


def test_what_was_published_is_not_said_of_another_network(make_bundle):
    source = Source(name="small", bundle=proven(make_bundle))
    wanted, left_out = options([source], Goal(min_top1=70.0))
    assert wanted == ()
    assert left_out[0].reason == "no top-1 is published for 5 classes at 32 pixels"
    (option,), _ = options([source])
    assert option.top1 is None


def test_an_engine_that_is_not_built_is_left_out_with_the_command(sources):
    made = sources()
    wanted, left_out = options(made, engines=("onnxruntime", "tensorrt"))
    assert {option.engine for option in wanted} == {"onnxruntime"}
    assert left_out[0].reason.endswith(f"levit-build {made[0].bundle.path} --engine tensorrt")


def test_ways_that_are_mostly_fast_come_first(sources):
    wanted, _ = options(sources(), engines=("onnxruntime", "openvino"), threads=(2, 1))
    assert [(option.network, option.engine, option.sessions.threads) for option in wanted[:4]] == [
        ("LeViT-128S", "onnxruntime", 2),
        ("LeViT-192", "onnxruntime", 2),
        ("LeViT-128S", "openvino", 2),
        ("LeViT-192", "openvino", 2),
    ]
    assert {option.sessions.threads for option in wanted[4:]} == {1}


def test_offline_threads_are_shared_out_in_three_ways(sources):
    wanted, _ = options(sources()[:1], Goal(min_images_per_s=10.0), threads=(2,))
    assert [option.threads_text for option in wanted] == ["2 threads", "2 x 1 thread", "1 thread with 2 callers"]
    for option in wanted:
        assert option.run_commands("offline")[-1].endswith("--threads 2 --batch 1 --scenario offline")


def test_a_batch_that_a_bundle_does_not_take_is_not_tried(make_bundle):
    source = Source(name="some", bundle=proven(make_bundle, batch="batch", maximum=4))
    wanted, _ = options([source], batches=(1, 4, 8))
    assert [option.batch for option in wanted] == [1, 4]


@pytest.mark.parametrize(("available", "expected"), [(1, (1,)), (2, (2, 1)), (6, (6, 4, 2, 1)), (16, (16, 8, 4, 2, 1))])
def test_threads_are_all_and_powers_of_two_below(available, expected):
    assert thread_counts(available) == expected

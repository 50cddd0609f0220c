"""The paper's table measured again: its published ratios, the pairing of rounds, and the file that is written."""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from pathlib import Path

import pytest

from levit_benchmarks import headline
from levit_benchmarks.bench import run
from levit_benchmarks.bench.record import Burst, Candidate, Conditions, Group, Round, RunRecord, Sessions
from levit_benchmarks.headline import BATCH, ENGINES, PAIRS, PUBLISHED, pairs, settings_for, speeds
from levit_benchmarks.peers.registry import PEERS, load_peer
from levit_deploy.architectures import config_for

CONDITIONS = Conditions(load_average=0.0, steal=None, other_load=None, frequency_mhz=None)


def candidate(network: str) -> Candidate:
    return Candidate(
        name=network.lower(),
        network=network,
        engine="engine",
        engine_version="1",
        precision="fp32",
        image_size=224,
        macs=None,
        timed_sha256="0" * 64,
        checked="yes",
        details={},
    )


def group(seconds: Mapping[str, list[float]]) -> Group:
    """Rounds of one call each; `seconds` are those of a batch, by network."""
    names = {network: candidate(network).name for network in seconds}
    bursts = [
        {
            names[network]: Burst(
                latencies_ns=(round(calls[place] * 1e9),), wall_ns=round(calls[place] * 1e9), cpu_ns=1
            )
            for network, calls in seconds.items()
        }
        for place in range(len(next(iter(seconds.values()))))
    ]
    return Group(
        scenario="single-stream",
        batch=BATCH,
        threads=1,
        baseline=next(iter(names.values())),
        candidates=tuple(candidate(network) for network in seconds),
        sessions={name: Sessions(sessions=1, threads=1) for name in names.values()},
        peak_rss_bytes=dict.fromkeys(names.values(), 1),
        rounds=tuple(Round(bursts=one, conditions=CONDITIONS) for one in bursts),
    )


def test_published_ratios_are_those_of_the_paper():
    published = {pair: PUBLISHED[pair[0]] / PUBLISHED[pair[1]] for pair in PAIRS}
    assert published["LeViT-192", "EfficientNet-B2"] == pytest.approx(4.94, abs=0.005)
    assert published["LeViT-256", "EfficientNet-B3"] == pytest.approx(7.27, abs=0.005)
    assert len(PUBLISHED) == 12


def test_ratios_are_taken_within_rounds():
    measured = group({"LeViT-192": [1, 2, 4], "EfficientNet-B2": [5, 8, 24]})
    (pair,) = pairs({"onnxruntime": measured})
    assert (pair.network, pair.other) == ("LeViT-192", "EfficientNet-B2")
    ratio = pair.measured["onnxruntime"]
    assert (ratio.ratio, ratio.rounds) == (5.0, 3)  # 5, 4 and 6; the ratio of medians is 4
    assert ratio.interval is None  # three rounds are too few for one
    rounds = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    (pair,) = pairs({"onnxruntime": group({"LeViT-192": [1] * 6, "EfficientNet-B2": rounds})})
    assert pair.measured["onnxruntime"].interval == (1, 6)


def test_speeds_are_images_a_second_in_the_order_of_the_table():
    measured = {
        "torch-eager": group({"EfficientNet-B4": [8.0], "LeViT-128S": [2.0]}),
        "onnxruntime": group({"EfficientNet-B4": [4.0]}),
    }
    found = speeds(measured)
    assert [speed.network for speed in found] == ["LeViT-128S", "EfficientNet-B4"]
    assert [dict(speed.measured) for speed in found] == [
        {"torch-eager": BATCH / 2},
        {"torch-eager": BATCH / 8, "onnxruntime": BATCH / 4},
    ]
    assert pairs(measured) == []  # a pair needs both networks on every engine


@pytest.mark.parametrize("engine", ENGINES)
def test_every_other_network_of_the_table_is_a_peer_on_the_same_engine(engine):
    settings = settings_for([Path("bundle")], engine, 9)
    assert (settings.threads, settings.batches, settings.engines) == (1, (16,), (engine,))
    assert {against.engine for against in settings.against} == {engine}
    assert {against.peer for against in settings.against} <= set(PEERS)
    networks = [load_peer(against.peer).source.network for against in settings.against]
    assert networks == [network for network in PUBLISHED if not network.startswith("LeViT")]


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """A folder to be in, where runs are made up; `archs` are those of the bundles."""
    monkeypatch.chdir(tmp_path)
    found = types.SimpleNamespace(archs=["192"], image_size=224)

    def opened(settings):
        configs = [config_for(arch, image_size=found.image_size) for arch in found.archs]
        bundles = [types.SimpleNamespace(manifest=types.SimpleNamespace(config=config)) for config in configs]
        return types.SimpleNamespace(settings=settings, bundles=dict(enumerate(bundles)))

    def ran(one, observer):
        seconds = {"LeViT-192": [1.0] * 6, "EfficientNet-B2": [3.0] * 6}
        return RunRecord(environment={}, settings=one.settings.to_json(), limits=(), groups=(group(seconds),))

    monkeypatch.setattr(run, "open_run", opened)
    monkeypatch.setattr(run, "run_bench", ran)
    return found


def test_the_file_holds_what_was_published_and_measured_and_every_run(measured, tmp_path, capsys):
    assert headline.main(["levit-192", "-o", "headline.json", "--rounds", "6"]) == 0
    text = Path("headline.json").read_text(encoding="utf-8")
    document = json.loads(text, parse_constant=pytest.fail)
    assert " ".join(document) == "kind schema_version source pairs speeds runs"
    assert document["pairs"][0]["measured"]["onnxruntime"] == {"ratio": 3.0, "interval": [3.0, 3.0], "rounds": 6}
    assert list(document["runs"]) == list(ENGINES)
    assert len(document["runs"]["onnxruntime"]["groups"][0]["rounds"]) == 6
    assert str(tmp_path) not in text
    assert "LeViT-192 : EfficientNet-B2  4.94   torch-eager 3.00 (3.00 to 3.00)" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["headline.json"]


def test_what_cannot_be_compared_with_the_table_is_refused(measured, capsys):
    Path("precious.json").write_text("precious")
    assert headline.main(["levit-192", "-o", "precious.json"]) == 2
    measured.archs = ["192", "192"]
    assert headline.main(["one", "other"]) == 2
    measured.archs, measured.image_size = ["192"], 96
    assert headline.main(["levit-192"]) == 2
    assert "at 224 pixels" in capsys.readouterr().err
    assert Path("precious.json").read_text() == "precious"
    assert not Path("headline.json").exists()

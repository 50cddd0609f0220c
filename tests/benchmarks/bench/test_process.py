"""Workers as processes: what they say, how they die, that they freeze, and that none is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from levit_benchmarks.bench.process import Worker
from levit_benchmarks.bench.protocol import PREPARE, order_from_json, order_to_json
from levit_benchmarks.bench.rounds import BurstLength, Crew, run_rounds
from levit_benchmarks.bench.subject import Order
from levit_benchmarks.machine import BenchmarkError
from levit_deploy.errors import BundleError, ConfigError, EnvironmentIncompleteError, ParityError

SHORT = BurstLength(seconds=0.01, count=3)


def engine_order(bundle, engine="onnxruntime", batch=1):
    return Order(name="tiny", threads=1, batch=batch, network="LeViT-128S", engine=engine, bundle=bundle.path)


def is_alive(pid):
    with suppress(OSError):
        return " Z " not in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    return False


def wait_until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_order_survives_the_way_as_json(tmp_path):
    order = Order(
        name="a", threads=2, batch=3, network="n", bundle=tmp_path, peer="p", folder=None, options={"key": "value"}
    )
    assert order_from_json(order_to_json(order)) == order


def test_a_checked_engine_is_timed(proven_bundle):
    bundle = proven_bundle()
    with Crew(engine_order(bundle), 1) as crew:
        candidate = crew.candidate
        burst = crew.burst(BurstLength(seconds=0.05, count=7))
        assert crew.peak_rss_bytes() > 10 << 20
    assert candidate.timed_sha256 == bundle.manifest.members["model.onnx"].sha256
    assert (candidate.engine, candidate.precision, candidate.image_size) == ("onnxruntime", "fp32", 32)
    assert "2 golden images at batch 1" in candidate.checked
    assert candidate.details["threads"] == "1"
    assert len(burst.latencies_ns) >= 7
    assert sum(burst.latencies_ns) <= burst.wall_ns
    assert burst.wall_ns >= 50_000_000
    assert burst.cpu_ns > 0


def test_a_burst_has_at_least_the_calls_asked_for(fake_order):
    with Crew(fake_order(), 2) as crew:
        fewest = crew.burst(BurstLength(seconds=1e-6, count=20))
        longer = crew.burst(BurstLength(seconds=0.5, count=1))
    assert len(fewest.latencies_ns) == 40
    assert longer.wall_ns < sum(longer.latencies_ns), "two sessions work at the same time"


def test_what_a_gpu_tells_of_each_call_is_kept(fake_order):
    with Crew(fake_order(what="gpu"), 1) as gpu, Crew(fake_order("cpu"), 1) as cpu:
        timed = gpu.burst(BurstLength(seconds=0.01, count=5))
        assert len(timed.gpu_ns) == len(timed.latencies_ns)
        assert [after - before for before, after in pairwise(timed.gpu_ns)] == [1] * (len(timed.gpu_ns) - 1)
        assert cpu.burst(BurstLength(seconds=0.01, count=5)).gpu_ns == ()


def test_wrong_logits_are_not_timed(proven_bundle):
    with pytest.raises(ParityError, match=r"tiny: parity lost .* batch 1: image 1 "):
        Crew(engine_order(proven_bundle(error=0.1)), 1)


def test_logits_that_are_not_numbers_are_not_timed(proven_bundle):
    with pytest.raises(ParityError, match="parity lost"):
        Crew(engine_order(proven_bundle(error=float("nan"))), 1)


def test_altered_graphs_are_not_timed(proven_bundle):
    bundle = proven_bundle()
    (bundle.path / "model.onnx").write_bytes(b"x" * bundle.manifest.members["model.onnx"].size_bytes)
    with pytest.raises(BundleError, match="altered or damaged"):
        Crew(engine_order(bundle), 1)


def test_what_libraries_print_does_not_disturb(fake_order):
    with Crew(fake_order(what="noise"), 1) as crew:
        assert len(crew.burst(SHORT).latencies_ns) >= 3


@pytest.mark.parametrize(
    ("what", "error", "message"),
    [
        ("crash in a call", BenchmarkError, "crashed (signal 11, Segmentation fault): the kernel gave up"),
        ("crash at opening", BenchmarkError, "ended with status 3"),
        ("lack", EnvironmentIncompleteError, "fake: install it"),
        ("bug", BenchmarkError, "fake: ZeroDivisionError: nought"),
    ],
)
def test_failures_are_told_and_leave_no_process(fake_order, what, error, message):
    with pytest.raises(error) as raised:
        Crew(fake_order(what=what), 1)
    assert message in str(raised.value)
    assert raised.value.exit_code == error.exit_code


def test_a_worker_that_takes_too_long_is_given_up(fake_order):
    with Worker(fake_order(what="hang")) as worker, pytest.raises(BenchmarkError, match=r"no answer within 0\.2 s"):
        worker.reply(timeout_s=0.2)
    assert not is_alive(worker.pid)


def test_an_unknown_peer_is_a_usage_error(fake_order):
    for peer, message in (("nobody", "nobody"), ("fakes.nobody", "no module with a PEER")):
        order = Order(name="x", threads=1, batch=1, network="n", peer=peer)
        with Worker(order) as worker, pytest.raises(ConfigError, match=message):
            worker.reply()


def test_a_peer_is_prepared_in_a_process_of_its_own(fake_order, tmp_path):
    order = order_from_json({**order_to_json(fake_order()), "folder": str(tmp_path)})
    with Worker(order, PREPARE) as worker:
        worker.reply()
    assert (tmp_path / "prepared").read_text() == "yes"


def test_a_frozen_process_takes_no_cpu_time(fake_order):
    with Worker(fake_order(what="spin")) as worker:
        worker.reply()
        worker.freeze()
        before = worker.cpu_s()
        time.sleep(0.3)
        assert worker.cpu_s() == before
        worker.thaw()
        wait_until(lambda: worker.cpu_s() > before)


def test_crews_are_frozen_except_in_their_burst(fake_order):
    with Crew(fake_order("a", what="spin"), 1) as a, Crew(fake_order("b", what="spin"), 1) as b:
        frozen = a.cpu_s(), b.cpu_s()
        time.sleep(0.2)
        assert (a.cpu_s(), b.cpu_s()) == frozen
        rounds = run_rounds([a, b], rounds=2, length=SHORT)
        after = a.cpu_s(), b.cpu_s()
        time.sleep(0.2)
        assert (a.cpu_s(), b.cpu_s()) == after > frozen
    assert [set(one.bursts) for one in rounds] == [{"a", "b"}] * 2


@pytest.mark.parametrize(("rounds", "processes", "opened"), [(5, 1, 1), (5, 2, 2), (6, 3, 3), (2, 4, 2)])
def test_processes_share_the_rounds_and_none_is_left(fake_order, tmp_path, rounds, processes, opened):
    log, told = tmp_path / "log", []
    with Crew(fake_order(what="log", file=str(log)), 1) as crew:
        found = run_rounds([crew], rounds=rounds, processes=processes, length=SHORT, on_step=told.append)
        pids = log.read_text().split()
        assert [is_alive(pid) for pid in pids] == [False] * (opened - 1) + [True]
    assert len(set(pids)) == opened
    assert len(found) == rounds
    assert len(told) == rounds + opened - 1


def test_memory_is_that_of_the_largest_process(fake_order):
    with Crew(fake_order(), 1) as crew:
        crew._earlier_peak_rss_bytes = 1 << 40
        crew.renew()
        assert crew.peak_rss_bytes() == 1 << 40


def test_a_file_that_changes_meanwhile_ends_the_run(fake_order, tmp_path):
    file = tmp_path / "model"
    file.write_text("1")
    with Crew(fake_order(what="file", file=str(file)), 1) as crew:
        crew.renew()
        file.write_text("2")
        with pytest.raises(BenchmarkError, match="changed while it was timed"):
            crew.renew()


def test_closing_ends_a_frozen_process_and_what_it_started(fake_order, tmp_path):
    file = tmp_path / "grandchild"
    with Worker(fake_order(what="grandchild", file=str(file))) as worker:
        worker.reply()
        grandchild = int(file.read_text())
        assert is_alive(grandchild)
        worker.freeze()
    wait_until(lambda: not is_alive(grandchild))
    assert not is_alive(worker.pid)


def test_a_death_while_frozen_is_told(fake_order):
    with Worker(fake_order()) as worker:
        worker.reply()
        worker.freeze()
        os.kill(worker.pid, signal.SIGKILL)
        worker.ask("memory")
        with pytest.raises(BenchmarkError, match="signal 9"):
            worker.reply()


OWNER = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell ignores in the background
from levit_benchmarks.bench.rounds import Crew
from levit_benchmarks.bench.subject import Order
order = Order(name="fake", threads=1, batch=1, network="n", peer="fakes.peer")
with Crew(order, 2) as crew:
    print(*(worker.pid for worker in crew._workers), flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL], ids=["interrupt", "kill"])
def test_frozen_workers_do_not_outlive_their_owner(fake_order, ending, tmp_path, monkeypatch):
    fake_order()  # for its PYTHONPATH
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # one that is killed leaves its folders
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    workers = [int(pid) for pid in owner.stdout.readline().split()]
    assert len(workers) == 2
    assert all(map(is_alive, workers))
    owner.send_signal(ending)
    owner.wait(timeout=20)
    owner.stdout.close()
    wait_until(lambda: not any(map(is_alive, workers)))

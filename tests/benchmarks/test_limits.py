"""The limits of the machine: found in processes of their own, with the threads that are asked for."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from levit_benchmarks.bench.limits import BANDWIDTH, Peak, measure_limits, measure_peak
from levit_benchmarks.machine import BenchmarkError

pytest.importorskip("onnxruntime")
CERTAIN_FLOPS = 1e8  # one multiply-accumulate in twenty cycles of a slow core


@pytest.fixture(scope="module")
def matmul() -> dict[str, Peak]:
    return {kernel: measure_peak(kernel, 1) for kernel in ("numpy-fp32", "onnxruntime-fp32")}


def test_one_thread_keeps_one_cpu_busy(matmul):
    for peak in matmul.values():
        assert peak.rate > CERTAIN_FLOPS
        assert 0 < peak.busy_cpus < 1.2
        assert peak.calls > 1
        assert peak.work in peak.method


def test_the_fastest_library_counts(matmul, monkeypatch):
    rates = {"numpy-fp32": 3.0, "onnxruntime-fp32": 2.0, "onnxruntime-int8": 5.0, "copy": 7.0}
    asked = []

    def measured(kernel: str, threads: int) -> Peak:
        asked.append((kernel, threads))
        return Peak(kernel=kernel, rate=rates[kernel], work="some", calls=2, busy_cpus=1.0)

    monkeypatch.setattr("levit_benchmarks.bench.limits.measure_peak", measured)
    limit = measure_limits(3, ("fp32", "int8", "bf16"))
    assert dict(limit.flops) == {"fp32": 3.0, "int8": 5.0}  # nothing measures bf16
    assert (limit.bytes_s, limit.threads) == (7.0, 3)
    assert limit.method["fp32"].startswith("matmul of NumPy")
    assert sorted(asked) == sorted((kernel, 3) for kernel in rates)
    assert set(measure_limits(1, ("fp32",)).flops) == {"fp32"}


def test_limits_are_plain_values():
    limit = measure_limits(2, ("int8",))
    document = json.loads(json.dumps(asdict(limit)))
    assert document["threads"] == 2
    assert document["flops"]["int8"] > CERTAIN_FLOPS
    assert document["bytes_s"] > 0
    assert set(document["method"]) == {"int8", BANDWIDTH}


def test_a_kernel_that_fails_says_why():
    with pytest.raises(BenchmarkError, match="KeyError: 'abacus'"):
        measure_peak("abacus", 1)

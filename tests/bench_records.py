"""Runs of levit-bench that nobody measured, for the tests of what is made of them."""

import numpy as np

from levit_benchmarks.bench.record import (
    OFFLINE,
    SINGLE_STREAM,
    Burst,
    Candidate,
    ColdStart,
    Conditions,
    EndToEnd,
    Group,
    MachineLimit,
    Round,
    RunRecord,
    Sessions,
)
from levit_deploy.architectures import PUBLISHED, config_for

EVIL = (
    "<script>alert(1)</script>[bold red]x[/] :smile: $x^2$ & \"'|`\x1b[31m\n{{ 7 * 7 }}"
    "\N{RIGHT-TO-LEFT OVERRIDE}\x00\ud800"
)
QUIET = Conditions(load_average=0.4, steal=0.001, other_load=0.05, frequency_mhz=2500.0)
UNREADABLE = Conditions(load_average=0.4, steal=None, other_load=None, frequency_mhz=None)
TIMES_MS = {"128S": 6.1, "128": 8.4, "192": 12.2, "256": 20.5, "384": 41.0}
ENVIRONMENT = {
    "date": "2026-11-22T10:11:12+00:00",
    "machine": {
        "cpu": "AMD EPYC 7B13",
        "cpu_flags": ["avx2", "fma"],
        "logical_cpus": 4,
        "usable_cpus": 2,
        "memory_bytes": 24 << 30,
        "system": "Debian GNU/Linux 12",
        "kernel": "Linux 6.1",
        "architecture": "x86_64",
        "python": "CPython 3.11.7",
        "thread_variables": {},
    },
    "packages": {"levit-deploy": "0.1.0", "onnxruntime": "1.32.0", "timm": None},
    "revision": "0123456789abcdef0123456789abcdef01234567",
}
LIMIT = MachineLimit(
    threads=2,
    flops={"fp32": 1.3e11, "int8": 4.1e11},
    bytes_s=2.2e10,
    method={"fp32": "sgemm of 2048 x 2048, best of 20", "memory": "copy of 256 MiB, best of 20"},
)


def candidate(name="onnxruntime LeViT-384", **changes):
    values = {
        "name": name,
        "network": "LeViT-384",
        "engine": "onnxruntime",
        "engine_version": "1.32.0",
        "precision": "fp32",
        "image_size": 224,
        "macs": config_for("384").mac_count(),
        "timed_sha256": "ab12" * 16,
        "checked": "golden logits, 0.04 of the bound",
        "details": {"provider": "CPUExecutionProvider"},
    }
    return Candidate(**values | changes)


def burst(center_ms, count, rng, batch=1):
    latencies = tuple(int(value) for value in 1e6 * batch * center_ms * rng.lognormal(0.0, 0.03, count))
    return Burst(latencies_ns=latencies, wall_ns=sum(latencies) + 1000 * count, cpu_ns=int(1.9 * sum(latencies)))


def group(times_ms, *, rounds=12, count=60, seed=0, noise=0.005, conditions=QUIET, candidates=None, **changes):
    """Candidates by name, each with its time for an image; the first is the baseline."""
    rng = np.random.default_rng(seed)
    candidates = candidates or tuple(candidate(name) for name in times_ms)
    batch = changes.get("batch", 1)
    made = []
    for _ in range(rounds):
        machine = rng.lognormal(0.0, 2 * noise)  # what a round does to all
        times = {name: time * machine * rng.lognormal(0.0, noise) for name, time in times_ms.items()}
        bursts = {name: burst(time, count, rng, batch) for name, time in times.items()}
        made.append(Round(bursts=bursts, conditions=conditions))
    values = {
        "scenario": SINGLE_STREAM,
        "batch": batch,
        "threads": 2,
        "baseline": next(iter(times_ms)),
        "candidates": candidates,
        "sessions": dict.fromkeys(times_ms, Sessions(sessions=1, threads=2)),
        "peak_rss_bytes": dict.fromkeys(times_ms, 211 << 20),
        "rounds": tuple(made),
    }
    return Group(**values | changes)


def record(*groups, **changes):
    values = {
        "environment": ENVIRONMENT,
        "settings": {"rounds": 12, "batch": [1, 8], "command": "levit-bench levit-384-fp32"},
        "limits": (LIMIT,),
        "groups": groups,
    }
    return RunRecord(**values | changes)


def small_record(**changes):
    """Two candidates, the second faster by a third."""
    return record(group({"slow": 12.0, "fast": 8.0}, rounds=12, count=20), **changes)


def family(engine, factor=1.0):
    """The five variants on one engine: candidates, and their times."""
    candidates = tuple(
        candidate(f"LeViT-{arch} {engine}", network=f"LeViT-{arch}", engine=engine, macs=config_for(arch).mac_count())
        for arch in PUBLISHED
    )
    return candidates, {f"LeViT-{arch} {engine}": factor * time for arch, time in TIMES_MS.items()}


def full_record(**changes):
    """All that a run can hold: five variants on two engines, offline, cold starts, end to end."""
    ours, our_times = family("onnxruntime")
    peers, peer_times = family("timm", 2.1)
    offline = group(
        {"LeViT-384 onnxruntime": 38.0, "LeViT-384 timm": 38.4},
        scenario=OFFLINE,
        batch=8,
        count=9,
        seed=3,
        noise=0.08,
        candidates=(ours[-1], peers[-1]),
        sessions={
            "LeViT-384 onnxruntime": Sessions(sessions=2, threads=1),
            "LeViT-384 timm": Sessions(sessions=1, threads=2),
        },
        conditions=Conditions(load_average=2.5, steal=0.11, other_load=0.9, frequency_mhz=None),
    )
    stages = ("interpreter", "import", "load", "build", "first answer")
    cold = tuple(
        ColdStart(
            candidate=one,
            threads=2,
            stages_s=tuple(
                {stage: 0.1 * (place + 1) * slow for place, stage in enumerate(stages)} for slow in (1, 1.2)
            ),
        )
        for one in (ours[-1], peers[-1])
    )
    jpeg = {"decode": 3_100_000, "preprocess": 1_900_000, "infer": 41_000_000, "post-process": 21_000}
    end = EndToEnd(candidate=ours[-1], threads=2, photograph="coffee", stages_ns=(jpeg, jpeg))
    values = {"cold_starts": cold, "end_to_end": (end,)}
    streams = group(our_times | peer_times, candidates=(*ours, *peers), baseline="LeViT-384 timm")
    return record(streams, offline, **values | changes)


def hostile_record():
    """Every text that a file may hold is one that a page or terminal could obey."""
    bad = candidate(
        EVIL,
        network=EVIL,
        engine=EVIL,
        engine_version=EVIL,
        precision=EVIL,
        timed_sha256=EVIL,
        checked=EVIL,
        details={EVIL: EVIL},
        macs=None,
    )
    # A network that is drawn among the published ones.
    drawn = candidate(f"{EVIL} 2", engine=EVIL, network="LeViT-384")
    names = {bad.name: 5.0, drawn.name: 6.0}
    return record(
        group(names, rounds=3, count=8, candidates=(bad, drawn), conditions=UNREADABLE),
        environment={
            "date": EVIL,
            "machine": {"cpu": EVIL, "system": EVIL},
            "packages": {EVIL: EVIL},
            "revision": EVIL,
        },
        settings={EVIL: EVIL},
        limits=(MachineLimit(threads=2, flops={EVIL: 1e9}, bytes_s=1e9, method={EVIL: EVIL}),),
        cold_starts=(ColdStart(candidate=bad, threads=1, stages_s=({EVIL: 0.5},)),),
        end_to_end=(EndToEnd(candidate=bad, threads=1, photograph=EVIL, stages_ns=({EVIL: 500},)),),
    )

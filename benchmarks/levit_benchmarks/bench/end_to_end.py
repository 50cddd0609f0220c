"""From a JPEG to its classes, stage by stage, on the photographs that travel with the package."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from importlib import resources
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from levit_benchmarks.bench.engine_subject import bundle_of, candidate_of
from levit_benchmarks.bench.process import OPEN_TIMEOUT_S, Worker
from levit_benchmarks.bench.protocol import END_TO_END, candidate_from_json
from levit_benchmarks.bench.record import Candidate, EndToEnd
from levit_benchmarks.bench.subject import Order
from levit_deploy.bundle import Bundle
from levit_deploy.decoding import decode_image
from levit_deploy.golden import PHOTOGRAPHS
from levit_deploy.preprocessing import resize_and_crop
from levit_engines import open_runner
from levit_engines.batches import as_input
from levit_engines.bundle_runner import BundleRunner

T = TypeVar("T")
STAGES = ("decode", "preprocess", "infer", "post-process")
WARM_UP_S, MOST_S = 0.5, 20.0
REPEATS, FEWEST_REPEATS = 64, 11  # of each photograph: what a 90th percentile needs, and a median
TOP = 5


def measure_end_to_end(order: Order) -> tuple[EndToEnd, ...]:
    """Every photograph REPEATS times, less often on slow engines, in a process of its own. Raises what it raises."""
    with Worker(order, END_TO_END) as worker:
        reply = worker.reply(OPEN_TIMEOUT_S)
    candidate = candidate_from_json(reply["candidate"])
    return tuple(
        EndToEnd(candidate=candidate, threads=order.threads, photograph=name, stages_ns=tuple(stages))
        for name, stages in reply["photographs"].items()
    )


def time_photographs(order: Order) -> tuple[Candidate, dict[str, list[dict[str, int]]]]:
    """In the worker: the checked candidate, and nanoseconds by stage of every photograph, taken in turn."""
    bundle = bundle_of(order)
    labels = bundle.labels()
    folder = resources.files("levit_deploy") / "data" / "photographs"
    files = {name: (folder / f"{name}.jpg").read_bytes() for name in PHOTOGRAPHS}
    with open_runner(bundle, engine=order.engine, threads=order.threads) as runner:
        candidate = candidate_of(order, runner, bundle)

        def round_of_all() -> dict[str, dict[str, int]]:
            return {name: _time_one(content, bundle, runner, labels, order.batch) for name, content in files.items()}

        _repeat(round_of_all, fewest=1, most=REPEATS, seconds=WARM_UP_S)
        gc.disable()
        rounds = _repeat(round_of_all, fewest=FEWEST_REPEATS, most=REPEATS, seconds=MOST_S)
        gc.enable()
    return candidate, {name: [one[name] for one in rounds] for name in files}


def _repeat(call: Callable[[], T], *, fewest: int, most: int, seconds: float) -> list[T]:
    """What `call` gives, `most` times, or until `seconds` have passed once there are `fewest`."""
    results, until_s = [call()], time.perf_counter() + seconds
    while len(results) < fewest or (len(results) < most and time.perf_counter() < until_s):
        results.append(call())
    return results


def _time_one(
    content: bytes, bundle: Bundle, runner: BundleRunner, labels: tuple[str, ...], batch: int
) -> dict[str, int]:
    clock, contract = time.perf_counter_ns, bundle.manifest.preprocessing
    times = [clock()]
    image = decode_image(content, apply_exif_orientation=contract.apply_exif_orientation)
    times.append(clock())
    images = as_input(bundle, np.repeat(resize_and_crop(image, contract)[None], batch, axis=0))
    times.append(clock())
    logits = runner.infer(images)
    times.append(clock())
    _best(logits[0], labels)
    times.append(clock())
    return {stage: after - before for stage, before, after in zip(STAGES, times, times[1:], strict=False)}


def _best(logits: NDArray[Any], labels: tuple[str, ...]) -> list[tuple[str, float]]:
    """Names and probabilities of the best classes, as levit-classify prints them."""
    scores = logits.astype(np.float64)
    exponentials = np.exp(scores - scores.max())
    probabilities = exponentials / exponentials.sum()
    order = np.argsort(-scores, kind="stable")[:TOP]
    return [(labels[index], float(probabilities[index])) for index in order]

"""What every Runner must hold, as functions that take one; each fails with an AssertionError that says what broke."""

from __future__ import annotations

import ctypes
import gc
import os
import pickle
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from levit_deploy.bundle import MODEL, Bundle
from levit_deploy.errors import InputError, RunnerError
from levit_deploy.preprocessing import normalize
from levit_engines.bundle_runner import BundleRunner

Images = NDArray[Any]
THREADS = 8


def images_for(runner: BundleRunner, count: int, seed: int = 0) -> Images:
    """`count` reproducible images of the kind that `runner` takes."""
    random, sides = np.random.default_rng(seed), runner.input.shape[1:]
    if runner.input.dtype == "uint8":
        return random.integers(0, 256, (count, *sides), dtype=np.uint8)
    return random.normal(size=(count, *sides)).astype(np.float32)


def check_statement(runner: BundleRunner, bundle: Bundle, engine: str) -> None:
    manifest = bundle.manifest
    assert (runner.input, runner.outputs, runner.precision) == (manifest.input, manifest.outputs, manifest.precision)
    assert runner.batch_sizes.minimum >= manifest.batch_sizes.minimum
    assert runner.batch_sizes.maximum <= manifest.batch_sizes.maximum
    assert runner.device == "cpu" or runner.device.startswith("cuda:")
    provenance = runner.provenance
    assert all(isinstance(text, str) and text for pair in provenance.items() for text in pair)
    assert provenance["engine"] == engine
    assert provenance["engine_version"][0].isdigit()
    assert provenance["model_sha256"] == manifest.members[MODEL].sha256
    assert isinstance(runner.notes, tuple)


def check_shapes(runner: BundleRunner) -> None:
    """Every batch size that is allowed, in an order that grows and shrinks."""
    sizes = range(runner.batch_sizes.minimum, runner.batch_sizes.maximum + 1)
    classes = runner.outputs[0].shape[1]
    for count in (*sizes, *reversed(sizes)):
        logits = runner.infer(images_for(runner, count))
        assert (logits.shape, logits.dtype) == ((count, classes), np.float32)
        assert np.isfinite(logits).all()


def check_golden(runner: BundleRunner, bundle: Bundle) -> None:
    golden, tolerance = bundle.golden(), bundle.manifest.golden_tolerance
    pixels = runner.input.dtype == "uint8"
    images = golden.images if pixels else normalize(golden.images, bundle.manifest.preprocessing)
    size = runner.batch_sizes.minimum
    for index, bound in enumerate(tolerance):
        logits = runner.infer(np.repeat(images[index : index + 1], size, axis=0))
        assert np.abs(logits - golden.logits[index]).max() <= bound, golden.names[index]


def refused_by(runner: BundleRunner) -> dict[str, Any]:
    """Images that must be refused, by what is wrong with them."""
    sizes, good = runner.batch_sizes, images_for(runner, runner.batch_sizes.minimum)
    other = np.float32 if good.dtype == np.uint8 else np.uint8
    refused = {
        "other type": good.astype(other),
        "float64": good.astype(np.float64),
        "float16": good.astype(np.float16),
        "too many": images_for(runner, sizes.maximum + 1),
        "none": good[:0],
        "no batch": good[0],
        "one axis more": good[None],
        "other side": good[:, :, :-1],
        "axes swapped": good.transpose(0, 2, 3, 1) if good.shape[1] == 3 else good.transpose(0, 3, 1, 2),
        "scalar": np.array(1, good.dtype),
        "list": good.tolist(),
        "nothing": None,
        "bytes": good.tobytes(),
    }
    if sizes.minimum > 1:
        refused["too few"] = good[:-1]
    if good.dtype == np.float32:
        refused["big endian"] = good.astype(">f4")
        for name, value in (("NaN", np.nan), ("infinity", np.inf), ("negative infinity", -np.inf)):
            refused[name] = good.copy()
            refused[name].reshape(-1)[-1] = value
    return refused


def check_refusals(runner: BundleRunner) -> None:
    """Each is refused as bad input, and the runner works as before."""
    images = images_for(runner, runner.batch_sizes.minimum)
    before = runner.infer(images)
    for name, bad in refused_by(runner).items():
        with pytest.raises(InputError) as caught:
            runner.infer(bad)
        assert "\n" not in str(caught.value), name
    assert np.array_equal(runner.infer(images), before)


def layouts_of(images: Images) -> dict[str, Images]:
    """The same images in memory that is not contiguous, not aligned, or not writable."""
    doubled = np.concatenate([images, images], axis=3)
    spaced = np.repeat(images, 2, axis=2)
    unaligned = np.frombuffer(b"\0" + images.tobytes(), images.dtype, offset=1).reshape(images.shape)
    read_only = images.copy()
    read_only.flags.writeable = False
    broadcast = np.broadcast_to(images[:1], images.shape) if len(images) == 1 else images[[*range(len(images))]]
    return {
        "Fortran": np.asfortranarray(images),
        "rows with gaps": doubled[..., : images.shape[3]],
        "every second row": spaced[:, :, ::2],
        "backwards": images[:, :, ::-1, ::-1].copy()[:, :, ::-1, ::-1],
        "axes moved": np.moveaxis(np.ascontiguousarray(np.moveaxis(images, 1, -1)), -1, 1),
        "not aligned": unaligned,
        "read-only": read_only,
        "broadcast": broadcast,
    }


def check_layouts(runner: BundleRunner) -> None:
    images = images_for(runner, runner.batch_sizes.minimum)
    expected = runner.infer(images)
    for name, other in layouts_of(images).items():
        assert np.array_equal(other, images), name
        assert np.array_equal(runner.infer(other), expected), name


def check_results_belong_to_the_caller(runner: BundleRunner) -> None:
    size = runner.batch_sizes.minimum
    images = images_for(runner, size, seed=1)
    first = runner.infer(images)
    kept = first.copy()
    second = runner.infer(images_for(runner, size, seed=2))
    assert not np.shares_memory(first, second), "two results share memory"
    assert np.array_equal(first, kept), "a result was overwritten by the next call"
    assert not np.shares_memory(first, images)
    assert first.flags.writeable
    first[:] = 7.0
    assert np.array_equal(runner.infer(images), kept), "writing into a result changes the next one"


def check_images_are_let_go(runner: BundleRunner) -> None:
    """Neither changed nor kept; what is done to them afterwards changes nothing."""
    images = images_for(runner, runner.batch_sizes.minimum, seed=3)
    before = images.copy()
    logits = runner.infer(images)
    assert np.array_equal(images, before), "the images were changed"
    kept = logits.copy()
    images[:] = 0
    assert np.array_equal(logits, kept), "the result looks at the images"
    reference = weakref.ref(images)
    del images
    gc.collect()
    assert reference() is None, "the images are kept"


def check_repeats(runner: BundleRunner, times: int = 5) -> None:
    images = images_for(runner, runner.batch_sizes.maximum)
    first = runner.infer(images)
    for _ in range(times):
        assert np.array_equal(runner.infer(images), first), "the same images give other logits"


def check_threads(runner: BundleRunner, rounds: int = 10) -> None:
    """Eight threads with images and batch sizes of their own get what they get alone."""
    low, high = runner.batch_sizes.minimum, runner.batch_sizes.maximum
    batches = [images_for(runner, low + seed % (high - low + 1), seed) for seed in range(THREADS)]
    alone = [runner.infer(images).copy() for images in batches]
    start = threading.Barrier(THREADS)

    def work(index: int) -> bool:
        start.wait()
        return all(np.array_equal(runner.infer(batches[index]), alone[index]) for _ in range(rounds))

    with ThreadPoolExecutor(THREADS) as pool:
        assert all(pool.map(work, range(THREADS))), "threads get other logits together than alone"


def check_memory(runner: BundleRunner, *, runs: int = 2000, warm_up: int = 300, bound_bytes: int = 8 << 20) -> None:
    images = images_for(runner, runner.batch_sizes.minimum)
    for _ in range(warm_up):
        runner.infer(images)
    gc.collect()
    before = _resident_bytes()
    for _ in range(runs):
        runner.infer(images)
    gc.collect()
    grown = _resident_bytes() - before
    assert grown <= bound_bytes, f"{runs} runs took {grown / 2**20:.1f} MiB"


def check_pickling(runner: BundleRunner) -> None:
    with pytest.raises(TypeError, match=r"cannot be pickled.*path"):
        pickle.dumps(runner)


def check_closing(runner: BundleRunner) -> None:
    """Close `runner` while threads infer: each call gives its logits, or says that the runner is closed."""
    images = images_for(runner, runner.batch_sizes.minimum)
    expected = runner.infer(images)
    start = threading.Barrier(THREADS + 1)

    def work() -> None:
        start.wait()
        for _ in range(100_000):
            assert np.array_equal(runner.infer(images), expected), "closing changed a result"

    with ThreadPoolExecutor(THREADS) as pool:
        done = [pool.submit(work) for _ in range(THREADS)]
        start.wait()
        runner.infer(images)
        runner.close()
        for future in done:
            with pytest.raises(RunnerError, match="closed"):
                future.result()
    _check_closed(runner, images)


def check_context(open_one: Callable[[], BundleRunner]) -> None:
    with open_one() as runner:
        images = images_for(runner, runner.batch_sizes.minimum)
        runner.infer(images)
    _check_closed(runner, images)


def _check_closed(runner: BundleRunner, images: Images) -> None:
    for _ in range(2):
        with pytest.raises(RunnerError, match="closed") as caught:
            runner.infer(images)
        assert caught.value.exit_code == 1
        runner.close()
    assert runner.provenance["engine"]


def _resident_bytes() -> int:
    """Resident memory without what was freed but kept: growth into that would not be seen, and keeping it is none."""
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

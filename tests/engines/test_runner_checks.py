"""The contract's checks themselves: a good runner passes all of them, and each bad one fails the one made for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import runner_checks as checks
from fixtures_bundle import WEIGHTS, BundleFactory
from numpy.typing import NDArray

from levit_deploy.bundle import Bundle
from levit_deploy.errors import RunnerError
from levit_engines.bundle_runner import BundleRunner

FAILURES = (AssertionError, pytest.fail.Exception)


class PlainRunner(BundleRunner):
    """The tiny model in NumPy, as every runner should be."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle, engine="plain", provenance={"engine_version": "1"}, notes=())
        self.kept: list[Any] = []

    def _run(self, images: NDArray[Any]) -> NDArray[np.float32]:
        return images.mean(axis=(2, 3)) @ WEIGHTS

    def _free(self) -> None:
        pass


class SharesItsBuffer(PlainRunner):
    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        self.buffer = np.zeros((4, WEIGHTS.shape[1]), np.float32)

    def _run(self, images: NDArray[Any]) -> NDArray[np.float32]:
        self.buffer[: len(images)] = super()._run(images)
        time.sleep(0.001)
        return self.buffer[: len(images)]


class KeepsImages(PlainRunner):
    def _run(self, images: NDArray[Any]) -> NDArray[np.float32]:
        self.kept = [images]
        return super()._run(images)


class ChangesImages(PlainRunner):
    def _run(self, images: NDArray[Any]) -> NDArray[np.float32]:
        logits = super()._run(images)
        images *= 2
        return logits


class Grows(PlainRunner):
    def _run(self, images: NDArray[Any]) -> NDArray[np.float32]:
        self.kept.append(np.ones(8192))
        return super()._run(images)


class ReadsMemoryAsItLies(PlainRunner):
    def infer(self, images: NDArray[Any]) -> NDArray[np.float32]:
        return self._run(np.ravel(images, order="K").reshape(images.shape))


class TakesAnything(PlainRunner):
    def infer(self, images: NDArray[Any]) -> NDArray[np.float32]:
        return self._run(np.zeros((1, 3, 32, 32), np.float32))


class Drifts(PlainRunner):
    def _run(self, images: NDArray[Any]) -> NDArray[np.float32]:
        self.kept.append(0)
        return super()._run(images) + np.float32(1e-3 * len(self.kept))


class MixesThreads(PlainRunner):
    def _run(self, images: NDArray[Any]) -> NDArray[np.float32]:
        self.kept = [images]
        time.sleep(0.001)
        return super()._run(np.resize(self.kept[0], images.shape))


class AnswersWhenClosed(PlainRunner):
    def close(self) -> None:
        pass


class BreaksCallsByClosing(PlainRunner):
    def _run(self, images: NDArray[Any]) -> NDArray[np.float32]:
        time.sleep(0.001)
        if self._closed:
            raise RunnerError("segmentation fault")
        return super()._run(images)


class ClosesOnce(PlainRunner):
    def _free(self) -> None:
        self.kept = []

    def close(self) -> None:
        if self._closed:
            raise RuntimeError("closed already")
        super().close()


class CanBePickled(PlainRunner):
    def __reduce__(self) -> Any:
        return (list, ())


class SaysNumbers(PlainRunner):
    def __init__(self, bundle: Bundle) -> None:
        BundleRunner.__init__(self, bundle, engine="plain", provenance={"engine_version": 1}, notes=())  # type: ignore[dict-item]


class OneRowTooMany(PlainRunner):
    def infer(self, images: NDArray[Any]) -> NDArray[np.float32]:
        logits = super().infer(images)
        return np.concatenate([logits, logits[:1]])


Check = Callable[[PlainRunner], None]


def _memory(runner: PlainRunner) -> None:
    checks.check_memory(runner, runs=500, warm_up=50)


def _statement(runner: PlainRunner) -> None:
    checks.check_statement(runner, runner._bundle, "plain")


def _context(runner: PlainRunner) -> None:
    checks.check_context(lambda: runner)


BAD: list[tuple[type[PlainRunner], Check]] = [
    (SharesItsBuffer, checks.check_results_belong_to_the_caller),
    (SharesItsBuffer, checks.check_threads),
    (KeepsImages, checks.check_images_are_let_go),
    (ChangesImages, checks.check_images_are_let_go),
    (Grows, _memory),
    (ReadsMemoryAsItLies, checks.check_layouts),
    (TakesAnything, checks.check_refusals),
    (Drifts, checks.check_repeats),
    (MixesThreads, checks.check_threads),
    (AnswersWhenClosed, _context),
    (BreaksCallsByClosing, checks.check_closing),
    (CanBePickled, checks.check_pickling),
    (SaysNumbers, _statement),
    (OneRowTooMany, checks.check_shapes),
]
GOOD = sorted({check for _, check in BAD} - {_context, checks.check_closing}, key=lambda check: check.__name__)


@pytest.mark.parametrize("check", [*GOOD, checks.check_closing, _context])
def test_a_good_runner_passes(check: Check, make_bundle: BundleFactory) -> None:
    check(PlainRunner(make_bundle(batch="batch", maximum=4)))


@pytest.mark.parametrize(("kind", "check"), BAD, ids=[f"{kind.__name__} {check.__name__}" for kind, check in BAD])
def test_a_bad_runner_is_caught(kind: type[PlainRunner], check: Check, make_bundle: BundleFactory) -> None:
    runner = kind(make_bundle(batch="batch", maximum=4))
    with pytest.raises(FAILURES):
        check(runner)


def test_a_second_close_that_fails_is_caught(make_bundle: BundleFactory) -> None:
    with pytest.raises(RuntimeError, match="closed already"):
        checks.check_context(lambda: ClosesOnce(make_bundle()))


def test_logits_that_are_not_golden_are_caught(make_bundle: BundleFactory) -> None:
    bundle = make_bundle()  # its golden logits are zeros
    with pytest.raises(AssertionError, match="first"):
        checks.check_golden(PlainRunner(bundle), bundle)

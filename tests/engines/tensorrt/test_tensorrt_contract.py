"""What every Runner must hold, held by ours over a fake GPU and a fake TensorRT; on a real one it was not run."""

from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import runner_checks as checks
from fixtures_bundle import SIDE, WEIGHTS
from tensorrt_fakes import FakeCuda, FakeLibrary, SpecializingFake

from levit_deploy.bundle import GOLDEN, Bundle, Golden
from levit_deploy.preprocessing import normalize, preprocessing_for
from levit_engines.tensorrt.runner import TensorRTRunner

CASES = {
    "tensorrt, dynamic batch": ("tensorrt", "batch", "float32"),
    "tensorrt-rtx, dynamic batch": ("tensorrt-rtx", "batch", "float32"),
    "tensorrt-rtx, static batch of pixels": ("tensorrt-rtx", 2, "uint8"),
}


class Case:
    """An engine on a bundle, opened as often as a check wants on the same fakes."""

    def __init__(self, bundle: Bundle, engine: str, kernel_folder: Path) -> None:
        self.bundle, self.engine, self.kernel_folder = bundle, engine, kernel_folder
        self.cuda = FakeCuda()
        self.library = (FakeLibrary if engine == "tensorrt" else SpecializingFake)(self.cuda)

    def open(self) -> TensorRTRunner:
        return TensorRTRunner(
            self.bundle, self.engine, library=self.library, cuda=self.cuda, kernel_folder=self.kernel_folder
        )


def golden() -> bytes:
    """Photographs and their logits, by NumPy."""
    images = np.random.default_rng(5).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
    means = normalize(images, preprocessing_for("untrained", SIDE)).mean(axis=(2, 3), dtype=np.float64)
    return Golden(names=("first", "second"), images=images, logits=means @ WEIGHTS).to_bytes()


@pytest.fixture(params=CASES.values(), ids=CASES)
def case(request: pytest.FixtureRequest, built: Callable[..., Bundle], tmp_path: Path) -> Case:
    engine, batch, dtype = request.param
    return Case(built(engine, batch=batch, dtype=dtype, members={GOLDEN: golden()}), engine, tmp_path / "kernels")


@pytest.mark.parametrize(
    "check",
    [
        checks.check_shapes,
        checks.check_refusals,
        checks.check_layouts,
        checks.check_results_belong_to_the_caller,
        checks.check_images_are_let_go,
        checks.check_repeats,
        checks.check_threads,
        pytest.param(checks.check_memory, marks=pytest.mark.slow),
        checks.check_pickling,
        checks.check_closing,
    ],
)
def test_the_contract_holds(case: Case, check: Callable[[TensorRTRunner], None]) -> None:
    with case.open() as runner:
        check(runner)
    assert case.cuda.live == 0


def test_the_statement_is_that_of_the_bundle(case: Case) -> None:
    with case.open() as runner:
        checks.check_statement(runner, case.bundle, case.engine)


def test_golden_logits_are_reproduced(case: Case) -> None:
    with case.open() as runner:
        checks.check_golden(runner, case.bundle)


def test_leaving_a_with_closes(case: Case) -> None:
    checks.check_context(case.open)
    assert case.cuda.live == 0


def test_a_gpu_that_computes_otherwise_each_time_is_found(case: Case) -> None:
    runs = count()
    case.library.error = lambda: float(next(runs))
    with case.open() as runner:
        for check in (checks.check_repeats, checks.check_threads, lambda one: checks.check_golden(one, case.bundle)):
            with pytest.raises(AssertionError):
                check(runner)

"""Kernels that are compiled while an engine runs: kept beside no bundle, used again, and never in the way."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures_bundle import SIDE
from tensorrt_fakes import FakeCuda, FakeLibrary, SpecializingFake, freed_in_order

import levit_engines.tensorrt as package
from levit_deploy.bundle import Bundle, open_bundle
from levit_engines.tensorrt.devices import Gpu
from levit_engines.tensorrt.kernels import KeptKernels, kernel_folder
from levit_engines.tensorrt.runner import TensorRTRunner

RTX = "tensorrt-rtx"
GPU = Gpu(name="A GPU", capability=(8, 6), driver="CUDA 13.5")


@pytest.fixture
def bundle(built: Callable[..., Bundle]) -> Bundle:
    return built(RTX)


def run(bundle: Bundle, folder: Path | None, batches: tuple[int, ...] = (1,), **changes: Any) -> tuple[Any, str]:
    """Open, infer and close; the library, and what the runner noted."""
    cuda = FakeCuda()
    library = SpecializingFake(cuda)
    for name, value in changes.items():
        setattr(library, name, value)
    with TensorRTRunner(bundle, RTX, library=library, cuda=cuda, kernel_folder=folder) as runner:
        for batch in batches:
            assert runner.infer(np.zeros((batch, 3, SIDE, SIDE), np.float32)).shape == (batch, 5)
        notes = " ".join(runner.notes)
    assert cuda.live == 0
    return library, notes


def test_kernels_of_one_process_are_those_of_the_next(bundle: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "kernels"
    library, note = run(bundle, folder, (1, 2))
    (kept,) = folder.iterdir()
    assert (library.restored, note, kept.suffix) == ([], "", ".kernels")
    assert folder.stat().st_mode & 0o777 == 0o700
    inode = kept.stat().st_ino
    library, note = run(bundle, folder)
    assert (library.restored, note) == ([3], "")  # the batch that the profile is tuned for is tried when opening
    assert kept.stat().st_ino == inode  # nothing new, nothing written
    run(bundle, folder, (3,))
    assert run(bundle, folder)[0].restored == [4]
    assert list(folder.iterdir()) == [kept]
    open_bundle(bundle.path).verify()


def test_they_are_let_go_of_between_context_and_engine(bundle: Bundle, tmp_path: Path) -> None:
    order = freed_in_order(run(bundle, tmp_path)[0].cuda)
    assert order[:3] == ["context freed", "cache freed", "engine freed"]


def test_whatever_decides_what_they_are_is_in_their_name(bundle: Bundle, tmp_path: Path) -> None:
    def name(plan: str = "0" * 64, version: str = "1.7.1", **gpu: Any) -> str:
        fields = {"name": GPU.name, "capability": GPU.capability, "driver": GPU.driver}
        kernels = KeptKernels(tmp_path, plan_sha256=plan, version=version, gpu=Gpu(**(fields | gpu)))
        return kernels._path.name

    others = [name("1" * 64), name(version="1.7.2"), name(name="B"), name(capability=(8, 9)), name(driver="CUDA 13.6")]
    assert len({name(), *others}) == 6
    assert name() == name()


def test_kernels_that_are_refused_are_compiled_again_and_that_is_said(bundle: Bundle, tmp_path: Path) -> None:
    run(bundle, tmp_path)
    (kept,) = tmp_path.glob("*.kernels")
    kept.write_bytes(b"of another GPU")
    library, note = run(bundle, tmp_path)
    assert (library.restored, note) == ([], f"{kept}: the kernels kept there were refused; they are compiled again")
    assert run(bundle, tmp_path)[1] == ""


def test_a_place_that_cannot_be_used_is_said_and_does_no_harm(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert "cannot be kept (Not a directory): LEVIT_KERNEL_CACHE=off" in run(bundle, tmp_path / "file" / "kernels")[1]
    run(bundle, tmp_path / "kernels")
    (kept,) = (tmp_path / "kernels").iterdir()
    kept.unlink()
    kept.mkdir()
    assert "cannot be kept (Is a directory)" in run(bundle, tmp_path / "kernels")[1]


def test_a_library_that_keeps_none_leaves_no_trace(built: Callable[..., Bundle], tmp_path: Path) -> None:
    cuda, folder = FakeCuda(), tmp_path / "kernels"
    bundle = built("tensorrt")
    TensorRTRunner(bundle, "tensorrt", library=FakeLibrary(cuda), cuda=cuda, kernel_folder=folder).close()
    assert not folder.exists()


def test_without_a_folder_or_the_consent_of_the_library_nothing_is_kept(bundle: Bundle, tmp_path: Path) -> None:
    assert run(bundle, None)[0].restored == []
    assert run(bundle, tmp_path / "kernels", takes_caches=False)[1] == ""
    assert not list((tmp_path / "kernels").iterdir())


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/levit-deploy/tensorrt-rtx"),
        ({"XDG_CACHE_HOME": "x", "HOME": "/h"}, "/h/.cache/levit-deploy/tensorrt-rtx"),
        ({"XDG_CACHE_HOME": "", "HOME": "/h"}, "/h/.cache/levit-deploy/tensorrt-rtx"),
        ({"HOME": "/h", "LEVIT_KERNEL_CACHE": "off"}, None),
        ({}, None),
    ],
)
def test_the_place_is_the_users_cache(environment: dict[str, str], folder: str | None) -> None:
    assert kernel_folder(environment) == (None if folder is None else Path(folder))


@pytest.mark.parametrize("switch", ["", "off"])
def test_the_environment_decides(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, switch: str) -> None:
    cuda = FakeCuda()
    monkeypatch.setattr("levit_engines.tensorrt.runner.load_cuda", lambda _: cuda)
    monkeypatch.setattr("levit_engines.tensorrt.runner.load_library", lambda _: SpecializingFake(cuda))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LEVIT_KERNEL_CACHE", switch)
    package.open_runner(bundle, RTX).close()
    assert len(list((tmp_path / "cache").rglob("*.kernels"))) == (0 if switch else 1)

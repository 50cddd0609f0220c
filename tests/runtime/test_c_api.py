"""liblevit.so through ctypes, as a foreign program uses it: what it gives and refuses, and eight threads at once."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import levit_ctypes as levit
import numpy as np
import pytest
from fixtures_bundle import BundleFactory

from levit_deploy.bundle import open_bundle
from levit_deploy.preprocessing import normalize, preprocess_file
from levit_engines import open_runner

THREADS = 8
ROUNDS = 5


@pytest.fixture(scope="module")
def library(runtime: Any) -> ctypes.CDLL:
    return levit.load(runtime.library)


@pytest.fixture(scope="module", params=["onnxruntime", "native"])
def engine(request: pytest.FixtureRequest) -> str:
    """Python's name of what runs the network."""
    return str(request.param)


@pytest.fixture(scope="module")
def classifier(engine: str, library: ctypes.CDLL, small_bundle: Path) -> Iterator[levit.Classifier]:
    options = levit.default_options(library)
    assert options.provider == levit.FASTEST
    options.provider = levit.NATIVE if engine == "native" else levit.CPU
    with levit.Classifier(library, small_bundle, options) as opened:
        yield opened


@pytest.fixture(scope="module")
def expected(engine: str, small_bundle: Path, photographs: list[Path]) -> Any:
    """Logits of the photographs, from Python."""
    bundle = open_bundle(small_bundle)
    contract = bundle.manifest.preprocessing
    with open_runner(bundle, engine=engine, threads=1) as runner:
        return runner.infer(normalize(np.stack([preprocess_file(file, contract) for file in photographs]), contract))


def test_exactly_these_symbols_are_exported(runtime: Any) -> None:
    listed = subprocess.run(
        ["nm", "-D", "--defined-only", runtime.library], capture_output=True, text=True, check=True
    ).stdout
    exported = {line.split()[-1].partition("@")[0] for line in listed.splitlines()}
    assert exported - {"LEVIT_1"} == set(levit.FUNCTIONS)


def test_photographs_have_pythons_logits(classifier: levit.Classifier, photographs: list[Path], expected: Any) -> None:
    logits = classifier.logits_of_encoded([file.read_bytes() for file in photographs])
    np.testing.assert_allclose(logits, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


def test_photographs_are_preprocessed_to_pythons_bytes(
    classifier: levit.Classifier, small_bundle: Path, photographs: list[Path]
) -> None:
    contract = open_bundle(small_bundle).manifest.preprocessing
    for file in photographs:
        np.testing.assert_array_equal(classifier.preprocess(file.read_bytes()), preprocess_file(file, contract))


def test_a_tensor_has_pythons_logits(
    classifier: levit.Classifier, small_bundle: Path, photographs: list[Path], expected: Any
) -> None:
    contract = open_bundle(small_bundle).manifest.preprocessing
    images = normalize(np.stack([preprocess_file(file, contract) for file in photographs]), contract)
    logits = classifier.logits_of_tensor(images)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=2e-6 * np.abs(expected).max())
    # More than the graph takes at once: the groups are put together in order.
    many = classifier.logits_of_tensor(np.concatenate([images, images[::-1], images]))
    np.testing.assert_allclose(many, np.concatenate([logits, logits[::-1], logits]), rtol=0, atol=1e-5)


def test_eight_threads_get_what_one_gets(classifier: levit.Classifier, photographs: list[Path]) -> None:
    contents = [file.read_bytes() for file in photographs]
    alone = [classifier.logits_of_encoded([content]) for content in contents]

    def work(number: int) -> bool:
        return all(
            np.array_equal(classifier.logits_of_encoded([contents[place]]), alone[place])
            for turn in range(ROUNDS)
            for place in [(number + turn) % len(contents)]
        )

    with ThreadPoolExecutor(THREADS) as pool:
        assert all(pool.map(work, range(THREADS)))


def test_errors_belong_to_their_thread(library: ctypes.CDLL, classifier: levit.Classifier) -> None:
    with pytest.raises(levit.LevitError, match="not an image"):
        classifier.logits_of_encoded([b"text"])
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(library.levit_last_error).result() == b""
    assert b"not an image" in library.levit_last_error()


def test_it_says_what_it_opened(engine: str, classifier: levit.Classifier, small_bundle: Path) -> None:
    manifest = open_bundle(small_bundle).manifest
    info = classifier.info()
    assert info.name.decode() == manifest.name
    assert info.arch == b"128S"
    assert info.weights_origin == b"untrained"
    assert info.provider == (b"native" if engine == "native" else b"CPUExecutionProvider")
    assert info.graph == b"model.onnx"
    assert (info.image_size, info.classes, info.batch_minimum, info.batch_maximum) == (32, 1000, 1, 4)
    assert info.golden_images == 12
    assert 0 < info.golden_share <= 1
    in_onnxruntime = Path(info.onnxruntime_library.decode()).name.startswith("libonnxruntime.so")
    assert in_onnxruntime == (engine == "onnxruntime")


def test_the_failed_image_is_told(classifier: levit.Classifier, photographs: list[Path]) -> None:
    with pytest.raises(levit.LevitError) as caught:
        classifier.logits_of_encoded([photographs[0].read_bytes()] * 5 + [b""])
    assert caught.value.status == levit.INPUT
    assert caught.value.image == 5


def test_tensors_of_another_size_or_with_nan_are_refused(classifier: levit.Classifier) -> None:
    images = np.zeros((1, 3, 32, 32), np.float32)
    with pytest.raises(levit.LevitError, match="bytes"):
        classifier.logits_of_tensor(images[:, :, :31])
    images[0, 1, 2, 3] = np.nan
    with pytest.raises(levit.LevitError, match="NaN or infinity"):
        classifier.logits_of_tensor(images)


def test_a_smaller_struct_than_ever_published_is_refused(library: ctypes.CDLL, small_bundle: Path) -> None:
    options = levit.default_options(library)
    options.struct_size = 8
    with pytest.raises(levit.LevitError, match="struct_size"):
        levit.Classifier(library, small_bundle, options)


@pytest.mark.parametrize("provider", [levit.CUDA, levit.TENSORRT])
def test_a_provider_that_is_missing_is_never_replaced(provider: int, library: ctypes.CDLL, small_bundle: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has the provider")
    options = levit.default_options(library)
    options.provider = provider
    with pytest.raises(levit.LevitError, match=r"this ONNX Runtime has no .*only .*CPUExecutionProvider") as caught:
        levit.Classifier(library, small_bundle, options)
    assert caught.value.status == levit.ENVIRONMENT


def test_no_file_appears_in_an_empty_home(
    runtime: Any, small_bundle: Path, empty_home: dict[str, str], tmp_path: Path
) -> None:
    code = f"""
import sys, time
sys.path.insert(0, {str(Path(levit.__file__).parent)!r})
import levit_ctypes as levit
with levit.Classifier(levit.load({str(runtime.library)!r}), {str(small_bundle)!r}):
    time.sleep(5)
"""
    subprocess.run([sys.executable, "-c", code], env=empty_home, cwd=tmp_path, check=True)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_the_versions_agree(library: ctypes.CDLL) -> None:
    from importlib import metadata

    assert library.levit_abi_version() == 1
    assert library.levit_version().decode() == metadata.version("levit-deploy")


def test_a_stream_of_images_needs_no_more_memory(
    classifier: levit.Classifier, images: list[Path], photographs: list[Path]
) -> None:
    """Good and bad images, to the byte: what is lost with each would be seen a hundred times."""
    good = [photographs[0].read_bytes(), images[0].read_bytes()]
    bad = [photographs[0].read_bytes()[:3000], images[0].read_bytes()[:-20], b"no image"]

    def work(rounds: int) -> None:
        for _ in range(rounds):
            classifier.logits_of_encoded(good)
            for content in bad:
                with contextlib.suppress(levit.LevitError):
                    classifier.logits_of_encoded([content])
        gc.collect()

    work(20)
    before = _allocated_bytes()
    work(100)
    # Python itself moves by a few objects; a leak of 32 bytes an image would be five times as much.
    assert _allocated_bytes() - before < 100 * len(good + bad) * 6


class _Mallinfo(ctypes.Structure):
    _names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in _names.split()]


def _allocated_bytes() -> int:
    """What malloc has handed out in this process, and mapped for large pieces."""
    mallinfo = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo is None:
        pytest.skip("this C library has no mallinfo2: glibc 2.33 has")
    mallinfo.restype = _Mallinfo
    found = mallinfo()
    return int(found.uordblks + found.hblkhd)


def test_pixels_and_uint8_tensors(library: ctypes.CDLL, make_bundle: BundleFactory, images: list[Path]) -> None:
    bundle = make_bundle(batch=2, dtype="uint8")
    options = levit.default_options(library)
    options.self_test = 0
    contract = bundle.manifest.preprocessing
    pixels = np.stack([preprocess_file(file, contract) for file in images[:3]])
    with open_runner(bundle, engine="onnxruntime", threads=1) as runner:
        wanted = np.concatenate([runner.infer(pixels[:2]), runner.infer(pixels[[2, 2]])[:1]])
    with levit.Classifier(library, bundle.path, options) as opened:
        assert opened.info().takes_pixels == 1
        np.testing.assert_allclose(opened.logits_of_tensor(pixels), wanted, atol=1e-5)
        np.testing.assert_allclose(opened.logits_of_encoded([f.read_bytes() for f in images[:3]]), wanted, atol=1e-5)

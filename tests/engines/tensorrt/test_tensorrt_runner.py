"""The runner against a fake GPU: what it checks before it loads, what it returns, and that it frees all it took."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from fixtures_bundle import SIDE, BundleFactory, tiny_model
from tensorrt_fakes import MAGIC, VERSION, WORK_MS, FakeCuda, FakeLibrary, SpecializingFake, freed_in_order

import levit_engines.tensorrt as package
from levit_deploy.bundle import MODEL, Bundle, open_bundle
from levit_deploy.engine_entry import Profile
from levit_deploy.errors import BundleError, ConfigError, EnvironmentIncompleteError, LevitError, RunnerError
from levit_deploy.manifest import BatchSizes, TensorSpecification
from levit_engines.tensorrt.compatibility import platform_here
from levit_engines.tensorrt.runner import TensorRTRunner

Built = Callable[..., Bundle]


def images(count: int, dtype: str = "float32", seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    if dtype == "uint8":
        return generator.integers(0, 256, (count, SIDE, SIDE, 3)).astype(np.uint8)
    return generator.normal(size=(count, 3, SIDE, SIDE)).astype(np.float32)


def expected(bundle: Bundle, batch: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(bundle.read(MODEL), providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"images": batch})[0]


def opened(bundle: Bundle, engine: str = "tensorrt", **fakes: Any) -> TensorRTRunner:
    cuda = fakes.pop("cuda", None) or FakeCuda()
    return TensorRTRunner(bundle, engine, cuda=cuda, library=fakes.pop("library", None) or FakeLibrary(cuda))


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_logits_of_every_batch_size_are_those_of_the_graph(built: Built, dtype: str) -> None:
    bundle, cuda = built(dtype=dtype), FakeCuda()
    with opened(bundle, cuda=cuda) as runner:
        for round_number in range(2):
            for count in (1, 4, 4, 4, 2, 1, 3):
                batch = images(count, dtype, round_number)
                np.testing.assert_array_equal(runner.infer(batch), expected(bundle, batch))
    assert cuda.calls["cudaGraphLaunch"] > 0
    assert cuda.live == 0


def test_the_fake_notices_a_wrong_image(built: Built) -> None:
    bundle = built()
    with opened(bundle) as runner:
        assert not np.array_equal(runner.infer(images(2)), expected(bundle, images(2, seed=1)))


def test_results_belong_to_the_caller(built: Built) -> None:
    with opened(built()) as runner:
        first = runner.infer(images(2))
        kept = first.copy()
        runner.infer(images(2, seed=1))
        np.testing.assert_array_equal(first, kept)
        assert first.base is None


def test_one_graph_is_kept_and_captured_again_when_the_batch_changes(built: Built) -> None:
    cuda = FakeCuda()
    with opened(built(), cuda=cuda) as runner:
        assert runner.provenance["cuda_graph"] == "yes"
        assert cuda.calls["cudaGraphInstantiate"] == 1
        for _ in range(5):
            runner.infer(images(4))
        assert cuda.calls["cudaGraphInstantiate"] == 1
        for _ in range(3):
            runner.infer(images(2))
        assert cuda.calls["cudaGraphInstantiate"] == 2
        assert len(cuda.graphs) == 1
    assert cuda.live == 0


@pytest.mark.parametrize(("batch", "graphs"), [("batch", "no"), (2, "yes")])
def test_a_library_that_specialises_kernels_gets_graphs_for_static_shapes_only(
    built: Built, batch: int | str, graphs: str
) -> None:
    bundle, cuda = built("tensorrt-rtx", batch=batch), FakeCuda()
    with opened(bundle, "tensorrt-rtx", cuda=cuda, library=SpecializingFake(cuda)) as runner:
        assert runner.provenance["cuda_graph"] == graphs
        np.testing.assert_array_equal(runner.infer(images(2)), expected(bundle, images(2)))


@pytest.mark.parametrize("call", ["cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate", "execute"])
def test_what_cannot_be_captured_runs_without_a_graph(built: Built, call: str) -> None:
    bundle, cuda = built(), FakeCuda(failing={call: "cudaErrorStreamCaptureUnsupported"})
    library = FakeLibrary(cuda)
    library.fails_in_capture = call == "execute"
    with opened(bundle, cuda=cuda, library=library) as runner:
        assert runner.provenance["cuda_graph"] == "no"
        np.testing.assert_array_equal(runner.infer(images(4)), expected(bundle, images(4)))
    assert cuda.live == 0


@pytest.mark.parametrize("graphs", [True, False])
def test_the_gpu_tells_what_it_took_for_the_last_call(built: Built, graphs: bool) -> None:
    cuda = FakeCuda(failing={} if graphs else {"cudaStreamBeginCapture": "cudaErrorStreamCaptureUnsupported"})
    with opened(built(), cuda=cuda) as runner:
        for _ in range(3):
            runner.infer(images(4))
        assert bool(cuda.calls["cudaGraphLaunch"]) == graphs
        assert runner.gpu_ns == round(3 * WORK_MS * 1e6), "a copy, the network, a copy"
    assert cuda.live == 0


def test_batch_sizes_are_those_of_the_profile(built: Built) -> None:
    with opened(built(profile=Profile(minimum=2, optimum=2, maximum=3))) as runner:
        assert runner.batch_sizes == BatchSizes(minimum=2, maximum=3, verified=(2, 3))
        with pytest.raises(LevitError, match="batch of 1"):
            runner.infer(images(1))
        with pytest.raises(LevitError, match="batch of 4"):
            runner.infer(images(4))


def test_everything_is_freed_in_order_and_once(built: Built) -> None:
    cuda = FakeCuda()
    runner = opened(built(), cuda=cuda)
    runner.infer(images(1))
    runner.close()
    runner.close()
    assert cuda.live == 0
    assert freed_in_order(cuda) == [
        "context freed",
        "engine freed",
        "runtime freed",
        "memory freed",
        "stream destroyed",
    ]
    with pytest.raises(RunnerError, match="closed"):
        runner.infer(images(1))


@pytest.mark.parametrize(
    ("call", "survives"),
    [
        ("cudaStreamCreateWithFlags", 0),
        ("cudaMalloc", 0),
        ("cudaMalloc", 1),
        ("cudaHostAlloc", 0),
        ("cudaHostAlloc", 1),
        ("cudaMemcpyAsync", 0),
        ("cudaStreamSynchronize", 0),
        ("cudaGraphLaunch", 0),
        ("cudaEventCreate", 0),
        ("cudaEventCreate", 1),
        ("cudaEventRecord", 1),
        ("cudaEventElapsedTime", 0),
    ],
)
def test_a_runner_that_fails_half_way_leaves_nothing(built: Built, call: str, survives: int) -> None:
    cuda = FakeCuda(failing={call: "cudaErrorMemoryAllocation"}, survives=survives)
    with pytest.raises(RunnerError, match="cudaErrorMemoryAllocation"):
        opened(built(), cuda=cuda)
    assert cuda.live == 0


def test_a_context_that_cannot_be_made_leaves_nothing(built: Built) -> None:
    cuda = FakeCuda()
    library = FakeLibrary(cuda)
    library.has_memory = False
    with pytest.raises(RunnerError, match="no execution context"):
        opened(built(), cuda=cuda, library=library)
    assert cuda.live == 0


def test_a_failing_engine_says_why(built: Built) -> None:
    cuda = FakeCuda()
    library = FakeLibrary(cuda)
    with opened(built(), cuda=cuda, library=library) as runner:
        library.fails = True
        with pytest.raises(RunnerError, match="the kernel did not run"):
            runner.infer(images(1))
        library.fails, library.accepts_shapes = False, False
        with pytest.raises(RunnerError, match="refused the shape"):
            runner.infer(images(3))
        library.accepts_shapes = True
        assert runner.infer(images(3)).shape == (3, 5)


def test_threads_take_turns(built: Built) -> None:
    bundle, failures = built(), []
    with opened(bundle) as runner:

        def work(seed: int) -> None:
            for count in (1, 3, 4, 2) * 5:
                batch = images(count, seed=seed)
                if not np.array_equal(runner.infer(batch), expected(bundle, batch)):
                    failures.append(seed)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures


def test_closing_waits_for_the_calls_that_have_begun(built: Built) -> None:
    bundle, cuda = built(), FakeCuda()
    runner = opened(bundle, cuda=cuda)
    begun, proceed, results = threading.Event(), threading.Event(), []
    original = cuda.cudaStreamSynchronize

    def slow(stream: Any) -> Any:
        begun.set()
        proceed.wait(10)
        return original(stream)

    cuda.cudaStreamSynchronize = slow  # type: ignore[method-assign]
    caller = threading.Thread(target=lambda: results.append(runner.infer(images(1))))
    caller.start()
    assert begun.wait(10)
    closer = threading.Thread(target=runner.close)
    closer.start()
    proceed.set()
    caller.join(10)
    closer.join(10)
    np.testing.assert_array_equal(results[0], expected(bundle, images(1)))
    assert cuda.live == 0


def test_checks_come_in_order_and_before_anything_is_loaded(built: Built, make_bundle: BundleFactory) -> None:
    bundle = built()
    (plan,) = bundle.manifest.engines["tensorrt"].files
    (bundle.path / plan).write_bytes(b"altered")
    blind = FakeCuda(failing={"cudaGetDeviceCount": "cudaErrorInsufficientDriver"})
    library = FakeLibrary(blind, version="10.9.0")

    def refused(error: type[LevitError], words: str, code: int, cuda: FakeCuda, library: FakeLibrary) -> None:
        with pytest.raises(error, match=words) as caught:
            TensorRTRunner(bundle, "tensorrt", library=library, cuda=cuda)
        assert caught.value.exit_code == code
        assert "\n" not in str(caught.value)
        assert (library.loaded, cuda.live) == (0, 0)

    refused(
        EnvironmentIncompleteError, "built with TensorRT 11.0.0, this is 10.9.0: run levit-build", 4, blind, library
    )
    refused(EnvironmentIncompleteError, "no NVIDIA driver", 4, blind, FakeLibrary(blind))
    none = FakeCuda(count=0)
    refused(EnvironmentIncompleteError, "no NVIDIA GPU can be used here", 4, none, FakeLibrary(none))
    hopper = FakeCuda((9, 0))
    refused(
        EnvironmentIncompleteError, "built for compute capability 8.6, this GPU has 9.0", 4, hopper, FakeLibrary(hopper)
    )
    good = FakeCuda()
    refused(BundleError, "altered or damaged", 3, good, FakeLibrary(good))


def test_no_engine_or_one_of_another_graph_is_refused_first(built: Built, make_bundle: BundleFactory) -> None:
    with pytest.raises(EnvironmentIncompleteError, match="has no engine tensorrt yet"):
        opened(make_bundle("bare"))
    bundle = built()
    path = bundle.path / "manifest.json"
    path.write_text(path.read_text().replace(bundle.manifest.engines["tensorrt"].model_sha256, "0" * 64, 1))
    text = path.read_text()
    stale = open_bundle(bundle.path)
    assert stale.manifest.engines["tensorrt"].model_sha256 != stale.manifest.members[MODEL].sha256, text[:80]
    with pytest.raises(EnvironmentIncompleteError, match="built from another"):
        opened(stale)
    with pytest.raises(ConfigError, match="is not one of"):
        opened(bundle, "openvino")


def test_a_plan_that_is_none_is_a_bad_bundle(built: Built) -> None:
    cuda = FakeCuda()
    with pytest.raises(BundleError, match=r"not a whole plan .*magicTag"):
        opened(built(plan=b"no plan"), cuda=cuda)
    assert cuda.live == 0


def test_a_plan_that_only_this_gpu_refuses_is_to_be_built_here(built: Built) -> None:
    cuda = FakeCuda()
    library = FakeLibrary(cuda)
    library.refusal = "cudaErrorNoKernelImageForDevice"
    with pytest.raises(EnvironmentIncompleteError) as caught:
        opened(built(), cuda=cuda, library=library)
    text = str(caught.value)
    assert "cannot load it (cudaErrorNoKernelImageForDevice): run levit-build " in text
    assert text.endswith(" --engine tensorrt --overwrite here")
    assert (library.loaded, cuda.live) == (1, 0)


@pytest.mark.parametrize(
    ("capability", "way_out"),
    [
        ((8, 9), r"this GPU has 8\.9: run levit-build .* --overwrite --compute-capability 8\.9$"),
        ((9, 0), r"this GPU has 9\.0: TensorRT-RTX 11\.0\.0 builds for 7\.5, .*, 12\.0 only, use another engine$"),
    ],
)
def test_a_gpu_that_the_library_knows_gets_another_build_than_one_it_does_not(
    built: Built, capability: tuple[int, int], way_out: str
) -> None:
    cuda = FakeCuda(capability)
    library = SpecializingFake(cuda)
    with pytest.raises(EnvironmentIncompleteError, match=way_out):
        opened(built("tensorrt-rtx"), "tensorrt-rtx", cuda=cuda, library=library)
    assert (library.loaded, cuda.live) == (0, 0)


@pytest.mark.parametrize("requirements", [{"platform": "windows-AMD64"}, {}], ids=["another", "none"])
def test_a_plan_of_another_platform_is_to_be_built_here(built: Built, requirements: dict[str, str]) -> None:
    bundle = built(requirements={"compute_capabilities": "8.6", **requirements})
    # Without a GPU too: it is asked first.
    with pytest.raises(EnvironmentIncompleteError, match=rf"this is {platform_here()}: run levit-build .* here$"):
        opened(bundle, cuda=FakeCuda(count=0))


@pytest.mark.parametrize(
    ("bits", "error", "words"),
    [
        (32, BundleError, "malformed engine"),
        (1, EnvironmentIncompleteError, "version mismatch"),
        (33, BundleError, "malformed engine, version mismatch"),
    ],
)
def test_a_header_that_is_not_for_here_is_refused_before_it_is_loaded(
    built: Built, bits: int, error: type[LevitError], words: str
) -> None:
    cuda = FakeCuda()
    library = SpecializingFake(cuda)
    library.verdict = ("INVALID", bits)
    with pytest.raises(error, match=words):
        opened(built("tensorrt-rtx"), "tensorrt-rtx", cuda=cuda, library=library)
    assert (library.loaded, cuda.live) == (0, 0)


@pytest.mark.parametrize("verdict", [("VALID", 0), ("SUBOPTIMAL", 0), ("INVALID", 0), ("INVALID", 16)])
def test_a_header_that_says_nothing_against_it_is_loaded(built: Built, verdict: tuple[str, int]) -> None:
    cuda = FakeCuda()
    library = SpecializingFake(cuda)
    library.verdict = verdict
    with opened(built("tensorrt-rtx"), "tensorrt-rtx", cuda=cuda, library=library) as runner:
        assert runner.infer(images(1)).shape == (1, 5)


def test_a_plan_of_another_network_is_refused(built: Built) -> None:
    cuda = FakeCuda()
    with pytest.raises(BundleError, match=r"has input images UINT8 .* promises input images FLOAT"):
        opened(built(plan=MAGIC + tiny_model("uint8", "batch")), cuda=cuda)
    assert cuda.live == 0


def test_what_a_measurement_states(built: Built) -> None:
    bundle = built()
    with opened(bundle) as runner:
        assert runner.device == "cuda:0"
        assert runner.precision == "fp32"
        stated = dict(runner.provenance)
        assert isinstance(runner.input, TensorSpecification)
    assert stated["engine"] == "tensorrt"
    assert stated["engine_version"] == VERSION
    assert stated["compute_capability"] == "8.6"
    assert (stated["gpu"], stated["driver"]) == ("NVIDIA Fake 1", "CUDA 13.5")
    assert stated["plan_sha256"] == bundle.manifest.members[bundle.manifest.engines["tensorrt"].files[0]].sha256


def test_without_the_package_the_extra_is_named(built: Built, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", None)
    with pytest.raises(EnvironmentIncompleteError, match=r"levit-deploy\[gpu\]"):
        package.open_runner(built(), "tensorrt")
